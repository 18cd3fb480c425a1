"""Which dtype an operation runs in on a device: under `amp.autocast`, and where float32 meets half.

The tape asks here before it runs a kernel on a device. Casts of arguments are not recorded as operations: a gradient is
cast back where it is handed on, to the dtype of what it is the gradient of (`_tape.hand_on`).
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import get_ident
from typing import Any

import numpy as np

from ._changes import change_count, changes_since, first_stale
from .kernels.capturing import LOCAL
from .kernels.devices import DeviceArray
from .kernels.halves import FLOAT32_ARGUMENTS, is_half, is_real

FLOAT32 = np.dtype(np.float32)

# Products: in half under autocast.
IN_HALF = frozenset((
    "linear", "matmul", "conv2d", "conv_transpose2d", "conv2d_max_pool2d", "conv2d_avg_pool2d", "conv2d_batch_norm",
    "attention", "self_attention", "rnn", "lstm", "gru", "rnn_cell", "lstm_cell", "gru_cell",
))  # fmt: skip
# What adds up many numbers or spreads them over many powers of ten: in float32.
IN_FLOAT32 = frozenset((
    "cross_entropy", "bce_with_logits", "mse", "l1", "huber", "softmax", "log_softmax", "exp", "log", "power", "sum",
    "mean", "var", "loss",
))  # fmt: skip

# Arguments that may be float32 beside an x in half, by the names that functions have for them.
_BESIDE_X = {
    **dict.fromkeys(("batch_norm", "layer_norm", "rms_norm", "group_norm"),
                    ("weight", "bias", "running_mean", "running_var")),
    "conv2d_batch_norm": ("norm_weight", "norm_bias", "running_mean", "running_var"),
    "cross_entropy": ("weight",),
}  # fmt: skip


class Casting:
    """What autocast does in a thread: its dtype, and weights that it has cast, which are cast once."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype
        # id of an array -> it, the changes before, its cast, and the captured graph that makes this
        self._kept: dict[int, tuple[Any, int, Any, Any]] = {}

    def of_weight(self, array: Any) -> Any:
        """A weight in half, from before where it has not been written over since."""
        kept = self._kept.get(id(array))
        if kept is not None and kept[3] is LOCAL.capture and not _was_changed(array, kept[1]):
            return kept[2]
        changes, half = change_count(), cast(array, self.dtype)
        self._kept[id(array)] = array, changes, half, LOCAL.capture
        return half


def _was_changed(array: Any, number: int) -> bool:
    if change_count() == number:
        return False
    return first_stale(_was_changed, (array,), (), number, changes_since(number)) is not None


threads: dict[int, Casting] = {}  # those under autocast


def current() -> Casting | None:
    """What autocast does in this thread, None outside of it."""
    return threads.get(get_ident()) if threads else None


def cast(array: Any, dtype: np.dtype) -> Any:
    """An array on a device as float16, bfloat16 or float32, itself where it is that."""
    if array.dtype == dtype:
        return array
    from .kernels.cuda.cast import cast as by_kernel

    return by_kernel(array.contiguous(), dtype)


def arrays_for(op: str, inputs: Sequence, arrays: Sequence) -> Sequence:
    """The arrays as the kernels of `op` take them; inputs: the Tensors that they are of, where they are.

    Raises RuntimeError for arrays on the CPU of an operation that autocast would run in half.
    """
    casting = current()
    if casting is not None and op in IN_HALF and not any(isinstance(array, DeviceArray) for array in arrays):
        raise RuntimeError(
            f"{op}: autocast is for arrays on a GPU, and these lie on the CPU, which computes in float32; move model "
            "and data with .to('cuda'), or leave autocast out (enabled=False)"
        )
    reals = [array is not None and is_real(array.dtype) for array in arrays]
    dtypes = {array.dtype for array, real in zip(arrays, reals) if real}
    if not all(dtype == FLOAT32 or is_half(dtype) for dtype in dtypes) or (casting is None and dtypes <= {FLOAT32}):
        return arrays
    wide = FLOAT32_ARGUMENTS.get(op, ())
    chosen = {array.dtype for i, (array, real) in enumerate(zip(arrays, reals)) if real and i not in wide}
    target, found = _dtype_for(op, casting, chosen), []
    for i, (array, real) in enumerate(zip(arrays, reals)):
        dtype = FLOAT32 if i in wide else target
        if not real or array.dtype == dtype:
            found.append(array)
        elif casting is not None and dtype == casting.dtype and _is_weight(inputs, i, array):
            found.append(casting.of_weight(array))
        else:
            found.append(cast(array, dtype))
    return found


def _dtype_for(op: str, casting: Casting | None, dtypes: set[np.dtype]) -> np.dtype:
    """What an operation runs in: by autocast's lists, else the widest dtype of its arguments."""
    if casting is not None and op in IN_HALF:
        return casting.dtype
    return next(iter(dtypes)) if len(dtypes) == 1 and (casting is None or op not in IN_FLOAT32) else FLOAT32


def _is_weight(inputs: Sequence, i: int, array: Any) -> bool:
    """Whether this is the array of a leaf that learns."""
    leaf = inputs[i] if i < len(inputs) else None
    return leaf is not None and getattr(leaf, "_learns", False) and leaf._node is None and leaf.data is array


def widened(array: Any, op: str = "loss") -> Any:
    """The array of an operation that is made of NumPy's functions: in float32 where autocast has it run in that."""
    if type(array) is np.ndarray or not threads or array is None:
        return array
    return arrays_for(op, (), (array,))[0] if isinstance(array, DeviceArray) else array


def summable(array: Any) -> Any:
    """The array for sums and what is divided by their counts, which half does not hold: float32 for half."""
    return cast(array, FLOAT32) if type(array) is not np.ndarray and is_half(array.dtype) else array


def in_dtype_of(y: Any, x: Any) -> Any:
    """A result of what `summable` made of x: in half again, but under autocast."""
    if type(x) is np.ndarray or not is_half(x.dtype) or y.dtype == x.dtype or current() is not None:
        return y
    return cast(y, x.dtype)


def alike(x: Any, y: Any) -> tuple[Any, Any]:
    """Two arrays on a device, one in half: both in the wider dtype."""
    dtype = x.dtype if x.dtype == y.dtype else FLOAT32
    return cast(x, dtype), cast(y, dtype)


def mix(arrays: Sequence) -> bool:
    """Whether all lie on a device, in half or float32."""
    return all(isinstance(a, DeviceArray) and (a.dtype == FLOAT32 or is_half(a.dtype)) for a in arrays)


def go_together(op: str, names: Sequence[str], arrays: Sequence) -> bool:
    """Whether arrays on one device, some in half, fit each other: all in one dtype but for what stays in float32 beside
    half, and under autocast, which casts them, any of half and float32."""
    given = [(name, array) for name, array in zip(names, arrays) if array is not None]
    if not mix([array for _, array in given]):
        return False
    if current() is not None:
        return True
    free = _BESIDE_X.get(op, ())
    return len({array.dtype for name, array in given if name not in free}) <= 1
