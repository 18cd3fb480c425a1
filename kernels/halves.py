"""The dtypes of 16 bits: which there are, and what stays in float32 beside them.

Kernels of CUDA read and write float16 and bfloat16 and compute in float32; CPUs have no kernels for them. bfloat16 is
ml_dtypes', which NumPy lacks.
"""

from __future__ import annotations

import numpy as np

HALVES = ("float16", "bfloat16")

# Arguments of operations, by their place, that kernels take in float32 where the others are in half: the parameters and
# statistics of norms, and the weights of classes.
FLOAT32_ARGUMENTS = {
    "batch_norm": (1, 2, 4, 5),
    "conv2d_batch_norm": (3, 4, 6, 7),
    "cross_entropy": (2,),
    "group_norm": (1, 2),
    "layer_norm": (1, 2),
    "rms_norm": (1,),
}


def half_dtype(name: str) -> np.dtype:
    """The dtype of "float16" or "bfloat16". ImportError where bfloat16 has no ml_dtypes."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        from ml_dtypes import bfloat16
    except ImportError as error:
        raise ImportError("bfloat16 needs ml_dtypes: pip install ml_dtypes, or dlfast with its extra `cuda`") from error
    return np.dtype(bfloat16)


def is_half(dtype: np.dtype) -> bool:
    """Whether it is float16 or bfloat16."""
    return dtype.itemsize == 2 and str(dtype) in HALVES


def is_real(dtype: np.dtype) -> bool:
    """Whether it is a dtype of floats; NumPy takes bfloat16 for none."""
    return dtype.kind == "f" or is_half(dtype)
