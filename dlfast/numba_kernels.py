"""What the library's own Numba kernels are made of, for kernels of one's own: see docs/your-own-operation.md.

Compiling: `jit` for what Python calls, `helper` for what kernels call; `contiguous` makes arguments of the one layout
that kernels are compiled for. `parallel_for` runs jobs on the library's threads, `scratch` is memory of the thread that
runs one, `empty` and `zeros` are arrays in the memory pool.

Loops over elements: `mapped` and `mapped_pair` make a kernel for whole arrays from a formula for one element, `summed`
a sum. `exp_negative`, `expm1_negative`, `tanh`, `sigmoid`, `softplus`, `maximum`, `where` and `clip` become vector
instructions in formulas, where `real(x, 0.5)` is a number in the type of x. In loops of one's own `get(x, i)` and
`put(y, i, value)` reach element i of a contiguous array in a way that LLVM vectorises.

Register tiles: `tile_zero(ROWS, VECTORS, x)` is a block of SIMD registers, ROWS rows of VECTORS * `lanes(x)` numbers.
It takes rank-1 updates (`tile_outer`), has + - * with tiles and numbers, `tile_add_row`, `tile_relu`, and is written
with `tile_store`; `tile_add` adds what lies at an address. `vector_load`, `vector_store`, `vector_load_part` and
`vector_store_part` are for tiles of one register. `address(x, (i, j))` says where an element lies; strides are in
bytes, and nothing is checked.

Products of matrices: `gemm`, the one behind Linear layers.

A kernel that is not the library's is compiled in each process that calls it, and never kept on disk. Raises ImportError
where Numba is missing.
"""

from .kernels.memory import empty, zeros
from .kernels.numba.gemm import gemm
from .kernels.numba.jit import contiguous, helper, jit, parallel_for, scratch
from .kernels.numba.loops import get, mapped, mapped_pair, put, summed
from .kernels.numba.simd import (
    ROWS,
    VECTORS,
    address,
    lanes,
    tile_add,
    tile_add_row,
    tile_outer,
    tile_relu,
    tile_store,
    tile_zero,
)
from .kernels.numba.vector import vector_load, vector_load_part, vector_store, vector_store_part
from .kernels.numba.vmath import (
    clip,
    exp_negative,
    expm1_negative,
    maximum,
    real,
    sigmoid,
    softplus,
    tanh,
    where,
)

__all__ = [
    "ROWS",
    "VECTORS",
    "address",
    "clip",
    "contiguous",
    "empty",
    "exp_negative",
    "expm1_negative",
    "gemm",
    "get",
    "helper",
    "jit",
    "lanes",
    "mapped",
    "mapped_pair",
    "maximum",
    "parallel_for",
    "put",
    "real",
    "scratch",
    "sigmoid",
    "softplus",
    "summed",
    "tanh",
    "tile_add",
    "tile_add_row",
    "tile_outer",
    "tile_relu",
    "tile_store",
    "tile_zero",
    "vector_load",
    "vector_load_part",
    "vector_store",
    "vector_store_part",
    "where",
    "zeros",
]
