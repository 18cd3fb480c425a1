# cython: language_level=3, binding=False
"""What has been written over in place, and when: so that backward can tell that a saved array is not what it was.

Every change through the library is noted with the bytes it went over and its number. A node of the tape keeps the
number of changes at its recording; while that has not grown, comparing the two is all that this costs. Else the arrays
that its backward will read are looked up among the changes that came after it.
"""
cimport numpy as cnp

import weakref

import numpy

from .kernels.devices import DeviceArray

cdef object ndarray = numpy.ndarray
# count, declared in _changes.pxd: of changes since the start of the process
cdef dict noted = {}  # (first byte, byte after the last) -> the latest Change of just these, while their memory lives

# What a backward reads: place in `saved` -> the flags of `needs` for which it is read; other places always are.
cdef dict READ_FOR = {
    "_multiply_backward": {0: (1,), 1: (0,)},
    "_divide_backward": {0: (1,)},
    "matmul_backward": {0: (1,), 1: (0,)},
    "linear_backward": {0: (1,), 1: (0,)},
    "conv2d_backward": {0: (1,), 1: (0,)},
    "conv_transpose2d_backward": {0: (1,), 1: (0,)},
    "conv2d_max_pool2d_backward": {1: (0,)},
    "conv2d_avg_pool2d_backward": {1: (0,)},
    "batch_norm_backward": {1: (0,), 2: ()},
    "layer_norm_backward": {1: (0,)},
    "group_norm_backward": {1: (0,)},
    "rms_norm_backward": {1: (0,)},
    "prelu_backward": {1: (0,)},
    "rnn_cell_backward": {2: (0,), 3: (1,)},
    "lstm_cell_backward": {3: (0,), 4: (1,)},
    "gru_cell_backward": {2: (0,), 3: (1,)},
}


cdef class Change:
    """The latest change of some bytes."""

    cdef long long number
    cdef Py_ssize_t low, high
    cdef object owner  # a weak reference that forgets the change with the memory

    def again(self):
        """Say that they have been written over once more."""
        global count
        count += 1
        self.number = count


cdef (Py_ssize_t, Py_ssize_t) bounds(object array):
    """The address of the array's first byte and of the one after its last; no two devices share an address."""
    if type(array) is not ndarray and isinstance(array, DeviceArray):
        return bounds_on_device(array)
    cdef cnp.ndarray a = array
    cdef Py_ssize_t low = <Py_ssize_t>cnp.PyArray_DATA(a), high = low + cnp.PyArray_ITEMSIZE(a), reach
    cdef int axis
    for axis in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, axis) == 0:
            return low, low
        reach = cnp.PyArray_STRIDE(a, axis) * (cnp.PyArray_DIM(a, axis) - 1)
        if reach > 0:
            high += reach
        else:
            low += reach
    return low, high


cdef (Py_ssize_t, Py_ssize_t) bounds_on_device(object array):
    cdef Py_ssize_t low = array.pointer, high = low + array.itemsize, reach
    for length, stride in zip(array.shape, array.strides):
        if length == 0:
            return low, low
        reach = stride * (length - 1)
        if reach > 0:
            high += reach
        else:
            low += reach
    return low, high


def note(array):
    """Say that the array has been written over."""
    change_of(array).again()


cpdef Change change_of(array):
    """The Change of the array's bytes; a new one has the number 0."""
    cdef Py_ssize_t low, high
    low, high = bounds(array)
    key = (low, high)
    change = noted.get(key)
    return first_change(key, array) if change is None else change


def first_change(tuple key, array):
    """A Change of the bytes of this array, which is forgotten with the memory that they lie in."""
    cdef Change change = Change.__new__(Change)
    change.low, change.high = key
    owner = array.owner if isinstance(array, DeviceArray) else array
    while isinstance(owner, ndarray) and isinstance(owner.base, ndarray):
        owner = owner.base
    change.owner = weakref.ref(owner, lambda _: noted.pop(key, None))
    noted[key] = change
    return change


def change_count():
    """How many changes there have been."""
    return count


def changes_since(long long number):
    """The noted changes with a higher number."""
    return [change for change in noted.values() if (<Change>change).number > number]


def first_stale(object backward, object saved, tuple needs, long long number, list changes):
    """The first array among `saved` that backward will read and that one of the changes after `number` went over."""
    while type(saved) is tuple and saved and callable(saved[0]):  # an operation around another
        backward, saved = saved[0], saved[1]
    name = getattr(backward, "__name__", None)
    cdef dict read_for = READ_FOR.get(name, {})
    if name == "batch_norm_backward" and saved[-1] is not None:  # an activation: y may be computed anew, from everything
        read_for = {}
    if type(saved) is not tuple:
        saved = (saved,)
    for place, value in enumerate(saved):
        flags = read_for.get(place)
        if flags is None or any([needs[flag] for flag in flags]):
            found = stale_part(value, number, changes)
            if found is not None:
                return found
    return None


cdef object stale_part(object value, long long number, list changes):
    cdef Change change
    cdef Py_ssize_t low, high
    if isinstance(value, (ndarray, DeviceArray)):
        low, high = bounds(value)
        for change in changes:
            if change.number > number and change.low < high and low < change.high:
                return value
    elif isinstance(value, (tuple, list)):
        for part in value:
            found = stale_part(part, number, changes)
            if found is not None:
                return found
    return None


def overlap(a, b):
    """Whether two arrays may share bytes."""
    cdef Py_ssize_t low, high, other_low, other_high
    low, high = bounds(a)
    other_low, other_high = bounds(b)
    return low < other_high and other_low < high
