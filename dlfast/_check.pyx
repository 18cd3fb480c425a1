# cython: language_level=3, binding=False
"""Checks of arguments that several functions share: cheap where all is well, messages are built on failure.

Compiled, because every call of a layer passes several.
"""
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t

import math
import operator

import numpy as np

from ._autocast import go_together
from ._devices import check_one_device, on_device
from .kernels.halves import is_half

FLOAT32, FLOAT64, INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
FLOATS = (FLOAT32, FLOAT64)
MOST_INTEGER = 2**63 - 1
MOST_ELEMENTS = 2**48

cdef Py_ssize_t MOST_RESULTS = 1024  # that `remembered` keeps

cdef object most_groups = 2**31  # with more, their product with the channels might not fit
cdef object float32 = FLOAT32, float64 = FLOAT64, int64 = INT64, ndarray = np.ndarray


cdef inline object dtype_of(object array):
    return <object>cnp.PyArray_DESCR(<cnp.ndarray>array) if type(array) is ndarray else array.dtype


# Arrays that belong to a layer: of two dtypes that differ, it is that of x which the user gave last.
PARAMETERS = (
    "weight", "bias", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "running_mean", "running_var", "norm_weight",
    "norm_bias",
)


def given(op, names, arrays):
    """Raise TypeError for an array that is needed and None."""
    for name, array in zip(names, arrays):
        if array is None:
            raise TypeError(f"{op}: {name} is None; an array of numbers is needed")


def is_float(op, name, array):
    """Raise TypeError unless the array is float32 or float64."""
    if array is None:
        given(op, (name,), (array,))
    dtype = dtype_of(array)
    if dtype is not float32 and dtype is not float64 and dtype not in FLOATS and not (on_device(array) and is_half(dtype)):
        raise TypeError(f"{op}: {name} must be float32 or float64, got {dtype}; cast with {name}.astype(np.float32)")


def floats(op, names, arrays, Py_ssize_t needed=1):
    """Raise TypeError unless all arrays are float32, or all float64, on one device; those after the first `needed` may be
    None."""
    cdef Py_ssize_t i
    cdef bint plain = True
    first = None if arrays[0] is None else dtype_of(arrays[0])
    if first is float32 or first is float64:
        for i, array in enumerate(arrays):
            if i < needed if array is None else dtype_of(array) is not first:
                break
            plain = plain and (array is None or type(array) is ndarray)
        else:
            if not plain:
                check_one_device(op, names, arrays)
            return
    given(op, names[:needed], arrays[:needed])
    check_one_device(op, names, arrays)
    if go_together(op, names, arrays):
        return
    others = {array.dtype for name, array in zip(names, arrays) if array is not None and name in PARAMETERS}
    for name, array in zip(names, arrays):
        if array is not None:
            is_float(op, name, array)
            if array.dtype != first and names[0] == "x" and others == {array.dtype}:
                raise TypeError(
                    f"{op}: x is {first} and {name} {array.dtype}; cast x with x.astype(np.{array.dtype}), or the model "
                    f"with model.to(np.{first})"
                )
            if array.dtype != first:
                raise TypeError(
                    f"{op}: {name} must have the dtype of {names[0]}, {first}, got {array.dtype}; "
                    f"cast with {name}.astype(np.{first})"
                )


def fits_linear(x, weight, bias):
    """Whether these are plain arrays x (..., I), weight (O, I) and bias (O,) or None, all float32 or all float64."""
    if type(x) is not ndarray or type(weight) is not ndarray or (bias is not None and type(bias) is not ndarray):
        return False
    dtype = dtype_of(x)
    cdef cnp.ndarray a = x, w = weight, b = bias
    cdef bint fits = (dtype is float32 or dtype is float64) and dtype_of(w) is dtype
    fits = fits and cnp.PyArray_NDIM(a) > 0 and cnp.PyArray_NDIM(w) == 2
    fits = fits and cnp.PyArray_DIM(a, cnp.PyArray_NDIM(a) - 1) == cnp.PyArray_DIM(w, 1)
    if not fits or b is None:
        return fits
    return dtype_of(b) is dtype and cnp.PyArray_NDIM(b) == 1 and cnp.PyArray_DIM(b, 0) == cnp.PyArray_DIM(w, 0)


def fits_conv(x, weight, bias, groups):
    """Whether these are plain arrays x (N, H, W, C), weight (K, R, S, C/groups) and bias (K,) or None, all float32 or all
    float64, and `groups` divides K."""
    if type(x) is not ndarray or type(weight) is not ndarray or not 1 <= groups <= most_groups:
        return False
    dtype = dtype_of(x)
    cdef int64_t parts = groups
    cdef cnp.ndarray a = x, w = weight
    cdef bint fits = (dtype is float32 or dtype is float64) and dtype_of(w) is dtype
    fits = fits and cnp.PyArray_NDIM(a) == 4 and cnp.PyArray_NDIM(w) == 4
    fits = fits and cnp.PyArray_DIM(a, 3) == cnp.PyArray_DIM(w, 3) * parts and cnp.PyArray_DIM(w, 0) % parts == 0
    return fits and fits_rows(w, (bias,))


cpdef bint fits_rows(object weight, object rows):
    """Whether each of the rows is None or a plain array (K,) of the dtype of weight (K, ...), a plain array too."""
    if type(weight) is not ndarray:
        return False
    cdef cnp.ndarray one
    cdef Py_ssize_t outputs = cnp.PyArray_DIM(<cnp.ndarray>weight, 0)
    for row in rows:
        if row is None:
            continue
        if type(row) is not ndarray or dtype_of(row) is not dtype_of(weight):
            return False
        one = row
        if cnp.PyArray_NDIM(one) != 1 or cnp.PyArray_DIM(one, 0) != outputs:
            return False
    return True


def rank(op, name, array, letters):
    """Raise ValueError unless the array has as many axes as there are letters, for example "N, H, W, C"."""
    wanted = letters.count(",") + 1
    if array.ndim != wanted:
        raise ValueError(f"{op}: {name} must have {wanted} axes ({letters}), got shape {array.shape}")


def shape(op, name, array, wanted, reason):
    """Raise ValueError unless the array, if there is one, has the shape wanted."""
    if array is not None and array.shape != wanted:
        raise ValueError(f"{op}: {name} must have shape {wanted} {reason}, got {array.shape}")


def integer(op, name, value, least, most=MOST_INTEGER):
    """`value` as an int from `least` to `most`. TypeError for what is no integer, ValueError for one out of range."""
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
            raise TypeError(f"{op}: {name} must be an integer, got {value!r}")
        value = operator.index(value)
    if value < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value}")
    if value > most:
        raise ValueError(f"{op}: {name} must be at most {most}, got {value}")
    return value


def pair(op, name, value, least, most=MOST_INTEGER):
    """One integer for both image axes, or two, each from `least` to `most`."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{op}: {name} must be one integer or two, got {value!r}")
        return integer(op, name, value[0], least, most), integer(op, name, value[1], least, most)
    value = integer(op, name, value, least, most)
    return value, value


def room(op, wanted):
    """Raise ValueError for a shape of so many elements that no computer holds them; fewer are for memory to refuse."""
    if math.prod(wanted) > MOST_ELEMENTS or max(wanted, default=0) > MOST_ELEMENTS:
        raise ValueError(f"{op}: the result would have shape {tuple(wanted)}, more than any memory holds")


def number(op, name, value, low, high, low_open=False, high_closed=False):
    """`value` as a float in [low, high), or one end otherwise. TypeError for what is no number, ValueError out of range."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{op}: {name} must be a number, got {value!r}")
    if not (low <= value < high or (high_closed and value == high)) or (low_open and value == low):
        ends = f"{'(' if low_open else '['}{low:g}, {high:g}{']' if high_closed else ')'}"
        raise ValueError(f"{op}: {name} must be in {ends}, got {value!r}")
    return float(value)


def choice(op, name, value, allowed):
    """`value`, which must be one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def indices(op, name, values, count, ignored=None):
    """`values` as int64, each in 0..count-1 or equal to `ignored`. TypeError for other dtypes, ValueError else.

    Of values on a device only the dtype is checked: to read them the CPU would have to wait for the device.
    """
    signed = values
    if dtype_of(values) is not int64:
        if values.dtype.kind not in "iu":
            nan = " with NaN among them" if values.dtype.kind == "f" and np.isnan(values).any() else ""
            raise TypeError(
                f"{op}: {name} must be integers, got {values.dtype}{nan}; cast with {name}.astype(np.int64)"
            )
        signed = values.astype(np.int64, copy=False)
    if not on_device(signed) and not all_below(signed, count):
        bad = (signed < 0) | (signed >= count)
        if ignored is not None:
            bad &= signed != ignored
        if bad.any():
            raise ValueError(f"{op}: {name} must be in 0..{count - 1}, got {values[bad][0]}")
    return signed


def labels(op, name, x, target, weight, ignored):
    """`target` as int64, one label in 0..C-1, or `ignored`, for each row of x (..., C); weight (C,) or None."""
    if weight is None and type(ignored) is int and fits_labels(x, target):
        return target
    given(op, (name, "target"), (x, target))
    check_one_device(op, (name, "target", "weight"), (x, target, weight))
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"{op}: {name} must have shape (..., C) with at least one class, got {x.shape}")
    integer(op, "ignore_index", ignored, -(2**63))
    if target.shape == x.shape:
        raise ValueError(
            f"{op}: target must hold labels, of shape {x.shape[:-1]}, got {target.shape}; of one-hot vectors take "
            "target.argmax(-1)"
        )
    target = indices(op, "target", target, x.shape[-1], ignored)
    if target.shape != x.shape[:-1]:
        shape(op, "target", target, x.shape[:-1], f"to match {name} {x.shape}")
    if weight is not None:
        shape(op, "weight", weight, x.shape[-1:], f"to match {name} {x.shape}")
    return target


def count_of_others(cnp.ndarray labels, int64_t ignored):
    """How many of the int64 labels are not `ignored`."""
    if not cnp.PyArray_ISCARRAY_RO(labels):
        labels = np.array(labels)
    cdef const int64_t* label = <const int64_t*>cnp.PyArray_DATA(labels)
    cdef Py_ssize_t i, n = cnp.PyArray_SIZE(labels), count = 0
    for i in range(n):
        count += label[i] != ignored
    return count


cdef bint fits_labels(object x, object target):
    """Whether these are plain arrays x (..., C) and target (...) of int64 in 0..C-1."""
    if type(x) is not ndarray or type(target) is not ndarray or dtype_of(target) is not int64:
        return False
    cdef cnp.ndarray a = x, t = target
    cdef int axis, axes = cnp.PyArray_NDIM(t)
    if cnp.PyArray_NDIM(a) != axes + 1:
        return False
    for axis in range(axes):
        if cnp.PyArray_DIM(a, axis) != cnp.PyArray_DIM(t, axis):
            return False
    return cnp.PyArray_DIM(a, axes) > 0 and all_below(t, cnp.PyArray_DIM(a, axes))


cdef bint all_below(cnp.ndarray values, uint64_t count):
    """Whether each of the int64 `values` is in 0..count-1."""
    if not cnp.PyArray_ISCARRAY_RO(values):
        values = np.array(values)
    cdef const int64_t* value = <const int64_t*>cnp.PyArray_DATA(values)
    cdef Py_ssize_t i, n = cnp.PyArray_SIZE(values)
    cdef uint64_t largest = 0  # as unsigned numbers the negative ones are the largest
    for i in range(n):
        largest = max(largest, <uint64_t>value[i])
    return largest < count or n == 0


cdef class remembered:
    """A function of plain values that remembers its results, as a decorator: for checks of shapes and options.

    Only integers, strings, None and tuples of them are remembered, since 1.0 and True equal 1 and yet are no integers
    to a check. What is returned must not be changed.
    """

    cdef object function
    cdef dict results

    def __init__(self, function):
        self.function, self.results = function, {}

    def __call__(self, *args):
        if not is_plain(args):
            return self.function(*args)
        found = self.results.get(args)
        if found is None:
            found = self.function(*args)
            if len(self.results) >= MOST_RESULTS:
                self.results.clear()
            self.results[args] = found
        return found


cdef bint is_plain(tuple values):
    for value in values:
        if type(value) is tuple:
            if not is_plain(<tuple>value):
                return False
        elif type(value) is not int and type(value) is not str and value is not None:
            return False
    return True
