"""The same values in other places of memory."""

import numpy as np


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def strided(x):
    """Every second element of a wider array, along the last axis."""
    if x.ndim == 0:
        return x
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), 7, dtype=x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def sliced(x):
    """The middle of an array that is larger along every axis."""
    large = np.full([size + 2 for size in x.shape], 7, dtype=x.dtype)
    middle = large[(..., *(slice(1, -1),) * x.ndim)]
    middle[...] = x
    return middle


def transposed(x):
    return np.array(x, order="F")


def negative(x):
    """Stored back to front along every axis."""
    backwards = (slice(None, None, -1),) * x.ndim
    return x[backwards].copy()[backwards] if x.ndim else x


def misplaced(x, offset=1):
    """Contiguous, `offset` bytes beyond a multiple of the element's size."""
    memory = np.zeros(x.nbytes + offset, dtype=np.uint8)
    shifted = memory[offset:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    return shifted


def off_by_one_element(x):
    """Contiguous and aligned for its element, but not for a vector of them."""
    return misplaced(x, x.itemsize)


def repeated(x):
    """The first entry along the first axis over and over, by a stride of 0: other values than x."""
    return np.broadcast_to(x[:1], x.shape) if x.ndim and len(x) else x


LAYOUTS = (read_only, misplaced, off_by_one_element, strided, sliced, transposed, negative)
