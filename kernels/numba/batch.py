"""Many small products: each is one job, from the packing of B to the last block of C (see `gemm`)."""

from __future__ import annotations

from .gemm import BLOCK_COLUMNS, BLOCK_ROWS, block_job, pack_panel, padded_bias
from .jit import PRODUCT, SERIAL_WORK, contiguous, helper, jit, parallel_for, scratch
from .simd import VECTORS, lanes

WORK = 1 << 22  # multiply-adds of a product that a thread takes whole, some 50 us
PACKED = 1 << 18  # numbers in B that it packs


def is_small(c, depth: int) -> bool:
    """Whether the products c (..., M, N) of this depth are many and small, but not empty."""
    m, n = c.shape[-2:]
    return c.size > m * n and 0 < m * n * depth < WORK and n * depth <= PACKED


def gemm_each(a, b, c, *, trans_a: bool, trans_b: bool):
    """c[i] = op(a[i]) op(b[i]) for every index i of the leading axes, which a, b and c share."""
    a, b = (contiguous(each).reshape(-1, *each.shape[-2:]) for each in (a, b))
    _gemm_each(a, b, c.reshape(-1, *c.shape[-2:]), padded_bias(None, 0, c), trans_a, trans_b)


@helper
def _product_job(job, worker, a, b, c, bias, trans_a, trans_b):
    depth, width = a.shape[1] if trans_a else a.shape[2], lanes(c) * VECTORS
    packed = scratch(c, PRODUCT, (-(-c.shape[2] // width), depth, width))
    for panel in range(packed.shape[0]):
        pack_panel(panel, worker, b[job], trans_b, packed)
    blocks = -(-c.shape[1] // BLOCK_ROWS) * -(-c.shape[2] // BLOCK_COLUMNS)
    for block in range(blocks):
        block_job(block, worker, a[job], packed, c[job : job + 1], bias, trans_a, False,
                  (BLOCK_ROWS, BLOCK_COLUMNS), depth)  # fmt: skip


@jit
def _gemm_each(a, b, c, bias, trans_a, trans_b):
    serial = c.size * (a.shape[1] if trans_a else a.shape[2]) < SERIAL_WORK
    parallel_for(_product_job, c.shape[0], (a, b, c, bias, trans_a, trans_b), serial)
