# cython: language_level=3, binding=False, auto_pickle=False
"""The tape: recorded operations, the switch that stops recording, and the backward pass over them.

Every operation passes here twice, forward and backward, so this one file of the layer API is compiled: in Cython a
recorded operation costs a quarter of what it costs in Python.
"""
cimport cython
from cpython.object cimport PyObject, PyObject_Call
from cpython.pythread cimport PyThread_get_thread_ident

import operator

import numpy

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* o)

from . import _autocast
from ._arrays import to_array
from . cimport _changes
from ._changes import changes_since, first_stale, overlap
from ._devices import check_kernel_arguments
from .kernels import active
from .kernels.devices import DeviceArray
from .kernels.memory import empty

cdef object ndarray = numpy.ndarray
cdef object by_order = operator.attrgetter("order")
cdef type result_type = object  # Tensor; see `results_are`
cdef dict silent = {}  # the threads that do not record
cdef dict casting = _autocast.threads  # those under autocast
cdef long long recorded = 0, walks = 0  # operations, and walks over a graph, since the start of the process


def is_recording():
    """Whether operations in this thread are recorded."""
    return PyThread_get_thread_ident() not in silent


def set_recording(bint recording):
    """Record operations in this thread, or do not."""
    if recording:
        silent.pop(PyThread_get_thread_ident(), None)
    else:
        silent[PyThread_get_thread_ident()] = None


cdef class Variable:
    """What the tape knows of a Tensor: its array, its gradient, and the operation that made it.

    `data`, `grad` and `requires_grad` pass what is assigned to `_set_data`, `_set_grad` and `_set_requires_grad` of the
    class; `_data`, `_grad` and `_learns` are the same without a check. `_name`: what messages call it, or None.
    `_place`: the `Into` of a Parameter's gradient in an optimizer's arena, None outside. There the gradient is always
    this one array; elsewhere `grad` is an array of its own, which may have been handed to the user.
    """

    cdef object array, gradient
    cdef bint learns
    cdef long long handed
    cdef public object _node, _place, _name

    @property
    def data(self):
        self.handed += 1
        return self.array

    @data.setter
    def data(self, value):
        self._set_data(value)

    @property
    def grad(self):
        return self.gradient

    @grad.setter
    def grad(self, value):
        self._set_grad(value)

    @property
    def requires_grad(self):
        return self.learns

    @requires_grad.setter
    def requires_grad(self, value):
        self._set_requires_grad(value)

    @property
    def _data(self):
        return self.array

    @_data.setter
    def _data(self, value):
        self.array = value

    @property
    def _handed(self):
        """How often the array was handed out as `data`: who has it may write into it, and nobody would know."""
        return self.handed

    @property
    def _holders(self):
        """How many references to the array there are, this one included."""
        return Py_REFCNT(<PyObject*>self.array)

    @property
    def _grad(self):
        return self.gradient

    @_grad.setter
    def _grad(self, value):
        self.gradient = value

    @property
    def _learns(self):
        return self.learns

    @_learns.setter
    def _learns(self, bint value):
        self.learns = value

    def _become(self, Variable other):
        """Stand for another result from now on: its array and the operation that made it."""
        self.array, self._node, self.learns = other.array, other._node, other.learns

    def _accumulate(self, gradient, bint fresh):
        """Add to `grad`. A gradient that is not fresh aliases something else, and is copied."""
        self.accumulate(gradient, fresh)

    cdef int accumulate(self, object gradient, bint fresh) except -1:
        if self._place is not None:
            place = self._place.array
            if self.gradient is not None:
                place += gradient
            elif gradient is not place:  # the kernel has not written it there itself
                place[...] = gradient
            self.gradient = place
        elif self.gradient is not None:  # out of place: the user may hold the array
            self.gradient = added(self.gradient, gradient)
        else:
            self.gradient = gradient if fresh else copied(gradient)
        return 0


@cython.final
@cython.freelist(64)
@cython.trashcan(True)  # no recursion where a long chain is dropped
cdef class Node:
    """One recorded operation: `backward(dy, saved, needs)` gives one gradient (or None) for each edge.

    edges[i] is the Node that made input i, the leaf Tensor itself, or None where no gradient is wanted, so that the
    graph keeps only what backward needs, not every intermediate array. `fresh` says that the gradients alias nothing
    (the kernel contract promises it), so a leaf may keep them without a copy.
    """

    cdef readonly long long order
    cdef object dtype  # of the result, where that lies on a device: gradients are cast to it
    cdef long long walk  # the last walk that met it
    cdef long long changes  # how many changes in place there had been, see `_changes`
    cdef public object backward, saved, grad  # backward and saved are None when freed
    cdef public tuple edges, needs
    cdef bint fresh


cdef Node new_node(object backward, object saved, tuple edges, tuple needs, bint fresh):
    global recorded
    cdef Node node = Node.__new__(Node)
    recorded += 1
    node.order, node.changes = recorded, _changes.count
    node.backward, node.saved, node.edges, node.needs, node.fresh = backward, saved, edges, needs, fresh
    return node


cdef Node of_result(Node node, object y):
    """The node, which knows now the dtype of its result."""
    if type(y) is not ndarray and isinstance(y, DeviceArray):
        node.dtype = y.dtype
    return node


# Recording


def results_are(type tensor):
    """Let results be of this class, which is derived from Variable and adds no fields."""
    global result_type
    result_type = tensor


cpdef object wrap(object data, Node node):
    """A Tensor around an array known to be sound: skips the checks of the constructor."""
    cdef Variable tensor = result_type.__new__(result_type)
    tensor.array, tensor._node, tensor.learns = data, node, node is not None
    return tensor


cpdef object unwrap(object value):
    """The array of a Tensor, an array itself, or lists of numbers as an array."""
    if isinstance(value, Variable):
        return (<Variable>value).array
    return value if type(value) is ndarray else to_array(value)


cpdef list arrays_of(object values):
    """The array behind each Tensor, array or list of numbers; None stays None."""
    return [None if value is None else unwrap(value) for value in values]


cpdef object run(str op, object inputs, object arrays, dict options):
    """Run kernel `op` and record it; `arrays` is what the kernel takes, and `inputs` what gradients go to."""
    if casting or not are_plain(arrays):
        check_kernel_arguments(op, arrays)
        arrays = _autocast.arrays_for(op, inputs, arrays)
    forward, backward = active(op, arrays[0])
    y, saved = PyObject_Call(forward, tuple(arrays), options)
    return record(y, backward, saved, inputs, True)


cdef bint are_plain(object arrays):
    """Whether these are arrays of NumPy, or None, and so all on the CPU."""
    for array in arrays:
        if type(array) is not ndarray and array is not None:
            return False
    return True


cpdef bint wants_gradient(object inputs):
    """Whether `record` would record an operation on these, Tensors or not."""
    if silent and PyThread_get_thread_ident() in silent:
        return False
    for x in inputs:
        if isinstance(x, Variable) and (<Variable>x).learns:
            return True
    return False


cpdef object record(object y, object backward, object saved, object inputs, bint fresh=False):
    """Wrap a result; backward(dy, saved, needs) gives one gradient for each of `inputs`, Tensors or not.

    fresh: those gradients alias neither dy nor each other nor anything else, as the kernel contract promises.
    """
    cdef Node node = None
    if wants_gradient(inputs):
        needs = tuple([isinstance(x, Variable) and (<Variable>x).learns for x in inputs])
        node = new_node(backward, saved, tuple([edge_to(x) for x in inputs]), needs, fresh)
    if type(y) is not tuple:
        if node is not None:
            of_result(node, y)
        return wrap(y if type(y) is ndarray else no_scalar(y), node)
    nodes = split_outputs(node, y) if node is not None else [None] * len(y)
    return tuple([wrap(one, part) for one, part in zip(y, nodes)])


cdef object no_scalar(object y):
    """A result as an array: NumPy's arithmetic on 0-d arrays gives scalars, that of devices does not."""
    return y if isinstance(y, DeviceArray) else numpy.asarray(y)


cdef object edge_to(object x):
    if not isinstance(x, Variable) or not (<Variable>x).learns:
        return None
    return x if (<Variable>x)._node is None else (<Variable>x)._node


cdef list split_outputs(Node node, tuple outputs):
    """One node for each output of an operation with several; they hand their gradients to `node`, which comes after."""
    blank = [(y.shape, y.dtype) for y in outputs]
    node.backward, node.saved = joint_backward, (node.backward, node.saved, blank)
    return [
        of_result(new_node(pick_backward, (node, i), (node,), (True,), False), outputs[i]) for i in range(len(outputs))
    ]


def pick_backward(dy, saved, needs):
    node, i = saved
    if node.grad is None:
        node.grad = [None] * len(node.saved[2])
    node.grad[i] = dy
    return (None,)


def joint_backward(dys, saved, needs):
    backward, inner, blank = saved
    known = [dy for dy in dys if dy is not None][0]
    full = [zeros_beside(known, shape, dtype) if dy is None else dy for dy, (shape, dtype) in zip(dys, blank)]
    return backward(tuple(full), inner, needs)


cdef object zeros_beside(object array, object shape, object dtype):
    """Zeros on the array's device."""
    return numpy.zeros(shape, dtype) if type(array) is ndarray else numpy.zeros_like(array, dtype, shape=shape)


# The way back


def run_backward(Node root, object gradient, bint retain=False):
    """Send `gradient` from `root` to every leaf, newest operation first; free what the graph had saved, unless `retain`.

    Gradients of nodes are added out of place, because two edges may share one array (addition hands on its dy twice).
    """
    cdef Node node
    cdef list nodes = reachable(root)
    root.grad = gradient
    try:
        for node in nodes:
            dy, backward, saved, edges = node.grad, node.backward, node.saved, node.edges
            node.grad = None
            if not retain:
                node.backward = node.saved = None
                node.edges = ()
            if dy is None:
                continue
            if type(dy) is not ndarray and isinstance(dy, numpy.generic):  # NumPy turns 0-d results into scalars
                dy = numpy.asarray(dy)
            needs = with_places(node.needs, edges) if node.fresh else node.needs
            hand_on(edges, backward(dy, saved, needs), node.fresh)
    except BaseException:
        for node in nodes:
            node.grad = node.backward = node.saved = None
        raise


cdef int hand_to_leaf(Variable leaf, object gradient, bint fresh) except -1:
    """Add to the leaf's gradient, cast to its dtype on a device."""
    if type(gradient) is not ndarray and isinstance(gradient, DeviceArray) and gradient.dtype != leaf.array.dtype:
        if leaf._place is None or leaf.gradient is not None:  # else it is cast on its way to its place
            gradient, fresh = _autocast.cast(gradient, leaf.array.dtype), True
    return leaf.accumulate(gradient, fresh)


cdef int hand_on(tuple edges, object gradients, bint fresh) except -1:
    """Give each gradient to the node or leaf at its edge."""
    cdef Py_ssize_t i
    cdef tuple given = tuple(gradients)
    for i in range(min(len(edges), len(given))):
        edge, gradient = edges[i], given[i]
        if gradient is None or edge is None:
            continue
        if type(edge) is not Node:
            hand_to_leaf(<Variable>edge, gradient, fresh)
            continue
        if (<Node>edge).dtype is not None and gradient.dtype != (<Node>edge).dtype:
            gradient = _autocast.cast(gradient, (<Node>edge).dtype)
        if (<Node>edge).grad is None:
            (<Node>edge).grad = gradient
        else:
            (<Node>edge).grad = added((<Node>edge).grad, gradient)
    return 0


cdef object added(object a, object b):
    """a + b, of one shape and dtype, in memory of the pool."""
    if type(b) is not ndarray and isinstance(b, DeviceArray):
        return a + b
    return numpy.add(a, b, out=empty(b.shape, b.dtype))


cdef object copied(object gradient):
    """A copy in row-major order."""
    if type(gradient) is not ndarray and isinstance(gradient, DeviceArray):
        return gradient.copy()
    return numpy.array(gradient, order="C")


cdef object with_places(tuple needs, tuple edges):
    """`needs`, with the place in the optimizer's arena where a parameter's first gradient may be written at once."""
    cdef list places = None
    cdef Py_ssize_t i
    for i in range(len(edges)):
        edge = edges[i]
        if not isinstance(edge, Variable) or (<Variable>edge)._place is None or (<Variable>edge).gradient is not None:
            continue
        if places is None:
            places = list(needs)
        if not is_among(places, (<Variable>edge)._place):  # the second gradient of a parameter is added to the first
            places[i] = (<Variable>edge)._place
    return needs if places is None else places


cdef bint is_among(list values, object one):
    """Whether it is one of these itself: `in` would compare, at ten times the cost."""
    for value in values:
        if value is one:
            return True
    return False


cdef list reachable(Node root):
    """Every node that `root` depends on, newest first; raises before anything changes if one was freed."""
    global walks
    cdef Node node, edge
    cdef list nodes = [root]
    cdef bint in_order = True, unchanged = True
    walks += 1
    root.walk = walks
    for node in nodes:  # grows while it is walked: no recursion, however long the chain
        if node.backward is None:
            raise RuntimeError(
                "backward: this graph (or a part of it that another backward used) is already freed; "
                "run the forward pass again, add the losses and call backward once, or give retain_graph=True"
            )
        unchanged = unchanged and node.changes == _changes.count
        for other in node.edges:
            if type(other) is Node and (<Node>other).walk != root.walk:
                edge = other
                edge.walk = root.walk
                in_order = in_order and edge.order < (<Node>nodes[-1]).order
                nodes.append(edge)
    if not unchanged:
        check_unchanged(nodes)
    if not in_order:
        nodes.sort(key=by_order, reverse=True)
    return nodes


cdef int check_unchanged(list nodes) except -1:
    """Raise where an array that a backward will read has been written over since the forward pass."""
    cdef Node node
    cdef list changes = changes_since(min([(<Node>node).changes for node in nodes]))
    if not changes:
        return 0
    for node in nodes:
        array = first_stale(node.backward, node.saved, node.needs, node.changes, changes)
        if array is not None:
            raise RuntimeError(
                f"backward: {name_of(array, nodes)} was changed in place after the forward pass had used it, and its old "
                "values are needed for the gradients; call backward before what changes it (optimizer.step(), "
                "load_state_dict, an assignment, +=), or run the forward pass again after it"
            )
    return 0


cdef object name_of(object array, list nodes):
    """What to call an array: the leaf of the graph that it belongs to, with its name where that is known."""
    cdef Node node
    for node in nodes:
        for edge in node.edges:
            if isinstance(edge, Variable) and overlap((<Variable>edge).array, array):
                name = f"{(<Variable>edge)._name}, a" if (<Variable>edge)._name else "a"
                return f"{name} {type(edge).__name__} of shape {(<Variable>edge).array.shape}"
    return f"a Tensor of shape {array.shape}"


# For optimizers, which go through all parameters in every step


def forget_gradients(list tensors):
    """Set `grad` to None."""
    cdef Variable tensor
    for tensor in tensors:
        tensor.gradient = None


def have_gradients(list tensors, list places):
    """Whether each has a gradient, and that lies at its place."""
    cdef Py_ssize_t i
    cdef Variable tensor
    for i in range(len(tensors)):
        tensor = tensors[i]
        if tensor.gradient is None or tensor._place is not places[i]:
            return False
    return True


def same_parameters(list groups, list taken):
    """Whether each group's "params" is a list of the same objects in the same order as its tuple in `taken`."""
    cdef Py_ssize_t i
    cdef tuple those
    if len(groups) != len(taken):
        return False
    for group, those in zip(groups, taken):
        these = group["params"]
        if type(these) is not list or len(<list>these) != len(those):
            return False
        for i in range(len(those)):
            if (<list>these)[i] is not those[i]:
                return False
    return True
