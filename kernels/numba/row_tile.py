"""Rows of A times packed panels of B, in a register tile as high as there are rows: for sequences and attention.

A panel is `PANEL` registers wide. A tile takes up to `ROWS` rows; those that are left over share lower tiles, so that a
batch of one costs no more than its row. Each number is summed along k in one order, whatever its tile, so rows may be
shared out among threads in any way.
"""

from __future__ import annotations

from .jit import helper
from .simd import REGISTER_BYTES, lanes, tile_add, tile_outer, tile_store, tile_zero
from .simd import ROWS as GEMM_ROWS

PANEL = 4
ROWS = GEMM_ROWS // 2  # of a tile of `PANEL` registers: ROWS x PANEL sums, one row of B, one number of A
FEW = ROWS * 2 // 3


def panel_columns(itemsize: int) -> int:
    """Columns of a panel."""
    return PANEL * REGISTER_BYTES // itemsize


@helper
def _multiply_tile(tile, a, a_row, a_step, b, b_step, depth, c, c_row, add):
    for k in range(depth):
        tile = tile_outer(tile, a + k * a_step, a_row, b + k * b_step)
    if add:
        tile = tile_add(tile, c, c_row)
    tile_store(tile, c, c_row)


def _multiply_panel(vectors: int):
    """The product of rows of A and the first `vectors` registers of a panel of B."""

    @helper
    def multiply_panel(like, a, a_row, a_step, rows, b, b_step, depth, c, c_row, add):
        i = 0
        while i < rows:
            left, x, y = rows - i, a + i * a_row, c + i * c_row
            if left >= ROWS:
                _multiply_tile(tile_zero(ROWS, vectors, like), x, a_row, a_step, b, b_step, depth, y, c_row, add)
                i += ROWS
            elif left >= FEW:
                _multiply_tile(tile_zero(FEW, vectors, like), x, a_row, a_step, b, b_step, depth, y, c_row, add)
                i += FEW
            elif left >= 2:
                _multiply_tile(tile_zero(2, vectors, like), x, a_row, a_step, b, b_step, depth, y, c_row, add)
                i += 2
            else:
                _multiply_tile(tile_zero(1, vectors, like), x, a_row, a_step, b, b_step, depth, y, c_row, add)
                i += 1

    return multiply_panel


_wide, _narrow = _multiply_panel(PANEL), _multiply_panel(PANEL // 2)


@helper
def multiply_rows(like, a, a_row, a_step, rows, b, b_step, b_panel, depth, columns, c, c_row, add):
    """c (rows, columns) = A B, or += with `add`: addresses, and distances in bytes, of the dtype of the array `like`.

    A's rows are `a_row` apart and its columns `a_step`; the rows of a panel of B `b_step`, the panels `b_panel`. The
    last panel is written whole, or its first half where that holds the columns that are left.
    """
    width = PANEL * lanes(like)
    for j in range(0, columns, width):
        panel, to = b + j // width * b_panel, c + j * like.itemsize
        if 2 * (columns - j) <= width:
            _narrow(like, a, a_row, a_step, rows, panel, b_step, depth, to, c_row, add)
        else:
            _wide(like, a, a_row, a_step, rows, panel, b_step, depth, to, c_row, add)
