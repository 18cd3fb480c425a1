"""Kernels over whole arrays, made from a formula for one element.

    @mapped
    def _elu(x, alpha):
        return ...

    y = _elu(x, options=(alpha,))        # an array of x's shape, in parallel, in vector instructions

A formula sees numbers of the arrays' dtype; options are Python numbers, converted to that dtype. One kernel is compiled
for each formula, dtype and number of arrays, when it is first called. Large arrays are cut into jobs of `BLOCK`
elements.
"""

from __future__ import annotations

from functools import cached_property
from types import FunctionType

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..memory import empty
from .jit import contiguous, helper, jit, parallel_for
from .vmath import inlined

BLOCK = 1 << 14  # elements in a job
SERIAL = 1 << 15  # elements below which waking the pool costs more than it brings
SUMS = 64  # jobs that sum over rows, at most
CHUNK = 256  # elements summed in the arrays' dtype before float64 takes over


@intrinsic
def pointer(typing, array, offset):
    """Where array.flat[offset] of a contiguous array (or pointer) lies, for `get` and `put`.

    Helpers that are called often take pointers instead of arrays: an array is counted in and out at every call.
    """
    kind = types.CPointer(array.dtype)

    def codegen(context, builder, signature, values):
        return _element(context, builder, array, values[0], values[1])

    return kind(array, types.intp), codegen


@intrinsic
def pointer_at(typing, like, place):
    """The pointer of an address, to numbers of the dtype of the array `like`."""
    kind = types.CPointer(like.dtype)

    def codegen(context, builder, signature, values):
        return builder.inttoptr(values[1], context.get_value_type(kind))

    return kind(like, types.intp), codegen


@intrinsic
def get(typing, array, i):
    """array.flat[i] of a contiguous array or pointer. There is no test for i < 0, so loops vectorise."""

    def codegen(context, builder, signature, values):
        return context.unpack_value(builder, array.dtype, _element(context, builder, array, *values))

    return array.dtype(array, types.intp), codegen


@intrinsic
def put(typing, array, i, value):
    """array.flat[i] = value, as `get`; the value is converted to the array's dtype."""

    def codegen(context, builder, signature, values):
        number = context.cast(builder, values[2], value, array.dtype)
        context.pack_value(builder, array.dtype, number, _element(context, builder, array, *values[:2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def _element(context, builder, array, value, index):
    """The LLVM pointer to an element of an array or behind a pointer."""
    data = value if isinstance(array, types.CPointer) else context.make_array(array)(context, builder, value).data
    return builder.gep(data, [index])


@intrinsic
def take(typing, arrays, i):
    """The tuple of `get(array, i)` for a tuple of arrays."""
    result = types.Tuple([array.dtype for array in arrays.types])

    def codegen(context, builder, signature, values):
        pairs = zip(arrays.types, cgutils.unpack_tuple(builder, values[0]), strict=True)
        places = [(array.dtype, _element(context, builder, array, value, values[1])) for array, value in pairs]
        return context.make_tuple(builder, result, [context.unpack_value(builder, *place) for place in places])

    return result(arrays, types.intp), codegen


@intrinsic
def converted(typing, numbers, array):
    """The numbers of a tuple in the dtype of an array."""
    result = types.UniTuple(array.dtype, len(numbers.types))

    def codegen(context, builder, signature, values):
        pairs = zip(numbers.types, cgutils.unpack_tuple(builder, values[0]), strict=True)
        return context.make_tuple(builder, result, [context.cast(builder, x, kind, array.dtype) for kind, x in pairs])

    return result(numbers, array), codegen


def rows_per_job(rows, columns) -> int:
    """Rows of a job: BLOCK elements, or what makes SUMS jobs."""
    return max(1, BLOCK // max(columns, 1), -(-rows // SUMS))


@helper(noalias=True)
def add_row(x, total, size):
    """total += x."""
    for c in range(size):
        put(total, c, get(total, c) + get(x, c))


def _map_job(index, worker, y, inputs, options):
    start = index * BLOCK
    for i in range(start, min(start + BLOCK, y.size)):
        put(y, i, formula(*(take(inputs, i) + options)))  # noqa: F821


def _map_kernel(y, inputs, options):
    jobs = -(-y.size // BLOCK)
    parallel_for(job, jobs, (y, inputs, converted(options, y)), y.size < SERIAL)  # noqa: F821


def _pair_job(index, worker, y, z, inputs, options):
    start = index * BLOCK
    for i in range(start, min(start + BLOCK, y.size)):
        first, second = formula(*(take(inputs, i) + options))  # noqa: F821
        put(y, i, first)
        put(z, i, second)


def _pair_kernel(y, z, inputs, options):
    jobs = -(-y.size // BLOCK)
    parallel_for(job, jobs, (y, z, inputs, converted(options, y)), y.size < SERIAL)  # noqa: F821


def _sum_job(index, worker, partial, inputs, options):
    start = index * BLOCK
    stop = min(start + BLOCK, inputs[0].size)
    total = 0.0
    for chunk in range(start, stop, CHUNK):
        part = inputs[0].dtype.type(0)
        for i in range(chunk, min(chunk + CHUNK, stop)):
            part += formula(*(take(inputs, i) + options))  # noqa: F821
        total += part
    partial[index] = total


def _sum_kernel(partial, inputs, options):
    arguments = (partial, inputs, converted(options, inputs[0]))
    parallel_for(job, partial.size, arguments, inputs[0].size < SERIAL)  # noqa: F821
    total = 0.0
    for part in partial:
        total += part
    return total


def instance(template, owner, **names):
    """The template with more globals: to Numba a function of its own, in cache and machine code named after its owner.

    (A closure would not do: its cells take part in the cache's key, and compiled functions have no lasting one.)
    """
    scope = {**template.__globals__, **names, "__name__": owner.__module__}
    function = FunctionType(template.__code__, scope, template.__name__)
    function.__qualname__ = f"{owner.__qualname__}{template.__name__}"
    return function


class mapped:
    """A formula f(*numbers, *options), plain or a `helper`, as a function of arrays of one shape and dtype."""

    def __init__(self, formula):
        self.formula = formula if hasattr(formula, "py_func") else inlined(formula)
        self.owner = self.formula.py_func

    def __call__(self, *arrays, options=()):
        y = empty(arrays[0].shape, arrays[0].dtype)
        self._kernel(y.ravel(), tuple([contiguous(x).ravel() for x in arrays]), tuple(map(float, options)))
        return y

    @cached_property
    def _kernel(self):
        job = helper(instance(_map_job, self.owner, formula=self.formula), noalias=True)
        return jit(instance(_map_kernel, self.owner, job=job))


class mapped_pair(mapped):
    """The same for a formula that gives two numbers: two arrays."""

    def __call__(self, *arrays, options=()):
        y, z = (empty(arrays[0].shape, arrays[0].dtype) for _ in range(2))
        inputs = tuple([contiguous(x).ravel() for x in arrays])
        self._kernel(y.ravel(), z.ravel(), inputs, tuple(map(float, options)))
        return y, z

    @cached_property
    def _kernel(self):
        job = helper(instance(_pair_job, self.owner, formula=self.formula), noalias=True)
        return jit(instance(_pair_kernel, self.owner, job=job))


def gradient(formula):
    """The backward of an operation with saved = (x or y, *options), from dx = formula(dy, x or y, *options)."""
    kernel = mapped(formula)

    def backward(dy, saved, needs):
        return (kernel(dy, saved[0], options=saved[1:]) if needs[0] else None,)

    return backward


class summed(mapped):
    """The sum over all elements of a formula, a Python float; the terms are added in one order on any thread count."""

    def __call__(self, *arrays, options=()):
        partial = empty(-(-arrays[0].size // BLOCK))
        return self._kernel(partial, tuple([contiguous(x).ravel() for x in arrays]), tuple(map(float, options)))

    @cached_property
    def _kernel(self):
        sum_job = instance(_sum_job, self.owner, formula=self.formula)
        job = helper(sum_job, noalias=True, fastmath={"reassoc", "contract"})
        return jit(instance(_sum_kernel, self.owner, job=job))
