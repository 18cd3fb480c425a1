"""What cuDNN is asked: graphs of one operation and what is fused behind it, apart from the calls (`cudnn.py`).

cuDNN names the axes of images N C H W and of weights K C R S, whatever lies side by side in memory; strides say that
channels do, as ours. Attention's are B H T D, and strides tell where the heads lie.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from ..halves import HALVES

PASSES = {"forward": "conv_fprop", "dx": "conv_dgrad", "dweight": "conv_wgrad"}
MOST_FEATURES = 128  # of a head
DTYPES = (*HALVES, "float32")


class Operand(NamedTuple):
    """A tensor of a graph: the name that the operation knows it by, its lengths, its strides in numbers."""

    name: str
    dim: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str


class Problem(NamedTuple):
    """An operation of cuDNN: its inputs, its outputs and its options, by cuDNN's names.

    bias, relu: fused behind it; the bias is the last input. exact: without tensor cores.
    """

    op: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    options: tuple[tuple[str, Any], ...]
    bias: bool = False
    relu: bool = False
    exact: bool = False


def _channels_last(name: str, shape: tuple[int, ...], dtype: str) -> Operand:
    """Ours (N, H, W, C) or (K, R, S, C) as cuDNN's (N, C, H, W)."""
    n, h, w, c = shape
    return Operand(name, (n, c, h, w), (h * w * c, 1, w * c, c), dtype)


@lru_cache(4096)
def convolution(passing: str, plan: Any, dtype: Any, tf32: bool, bias: bool = False, relu: bool = False) -> Problem:
    """A pass of a plan's convolution (`conv_plan.Plan`); its padding is alike on both sides."""
    dtype, (top, _, left, _) = str(dtype), plan.geometry.padding
    options = ("padding", (top, left)), ("stride", plan.geometry.stride), ("dilation", plan.geometry.dilation)
    exact = dtype == "float32" and not tf32
    shapes = plan.image, plan.kernel, plan.output
    names = {"forward": ("image", "weight", "Y"), "dx": ("DX", "filter", "loss"), "dweight": ("image", "DW", "loss")}
    x, w, y = (_channels_last(name, shape, dtype) for name, shape in zip(names[passing], shapes))
    if passing == "dx":
        return Problem("conv_dgrad", (y, w), (x,), options, exact=exact)
    if passing == "dweight":
        return Problem("conv_wgrad", (x, y), (w,), options, exact=exact)
    k = plan.kernel[0]
    added = (Operand("bias", (1, k, 1, 1), (k, 1, k, k), dtype),) if bias else ()
    return Problem("conv_fprop", (x, w, *added), (y,), options, bias, relu, exact)


def attention(q: Any, k: Any, v: Any, y: Any, causal: bool, scale: float) -> Problem:
    """y and the logarithms of the sums of exponentials, from heads (`attention.Heads`)."""
    dtype = str(q.array.dtype)
    inputs = tuple(_heads(name, each, dtype) for name, each in zip("qkv", (q, k, v)))
    return Problem("sdpa", inputs, (_heads("O", y, dtype), _stats("Stats", q)),
                   (("attn_scale", scale), ("use_causal_mask", causal), ("generate_stats", True)))  # fmt: skip


def attention_gradients(heads: Any, out: Any, causal: bool, scale: float) -> Problem:
    """dq, dk, dv for the heads of q, k, v, y, dy; the same numbers each time (`use_deterministic_algorithm`)."""
    dtype = str(heads[0].array.dtype)
    inputs = tuple(_heads(name, each, dtype) for name, each in zip(("q", "k", "v", "o", "dO"), heads))
    outputs = tuple(_heads(name, each, dtype) for name, each in zip(("dQ", "dK", "dV"), out))
    options = ("attn_scale", scale), ("use_causal_mask", causal), ("use_deterministic_algorithm", True)
    return Problem("sdpa_backward", (*inputs, _stats("stats", heads[0])), outputs, options)


def _heads(name: str, heads: Any, dtype: str) -> Operand:
    return Operand(name, (heads.batch, heads.heads, heads.rows, heads.features), (*heads.steps, 1), dtype)


def _stats(name: str, q: Any) -> Operand:
    """(B, H, T) float32."""
    return Operand(name, (q.batch, q.heads, q.rows, 1), (q.heads * q.rows, q.rows, 1, 1), "float32")


def attention_fits(q: Any, k: Any, mask: Any, dropout: float) -> bool:
    """Whether cuDNN does it as we define it.

    Its dropout draws other numbers, and a row that a mask leaves nothing of is not 0 there.
    """
    half = q.array.dtype.itemsize == 2
    heads = q.features % 8 == 0 and 0 < q.features <= MOST_FEATURES and k.heads > 0 and q.heads % k.heads == 0
    sizes = q.batch > 0 and q.rows > 0 and k.rows > 0
    return half and mask is None and not dropout and heads and sizes
