"""A matrix product as cuBLASLt is asked for it: all that is decided, apart from the calls (`cublas.py`).

cuBLASLt reads memory column behind column. What lies there row behind row as C (M, N) is to it C^T (N, M), and

    C = act(A B + bias)   (M, N)      is      C^T = act(B^T A^T + bias)   (N, M),

so its first matrix is our B and its second our A, and no number is moved:

    ours                      as it lies for cuBLASLt (rows, columns, distance of columns)      asked for
    B (K, N), row by row      (N, K), b.row                                                     B^T: as it is
    B (K, N), by columns      (K, N), b.column                                                  B^T: transposed
    A (M, K), row by row      (K, M), a.row                                                     A^T: as it is
    A (M, K), by columns      (M, K), a.column                                                  A^T: transposed
    C (M, N)                  (N, M), N

Its bias has one number for each row of its result, as ours has for each column. Epilogues, by cublasLt's names:

    BIAS, RELU, GELU (by tanh)      D = act(product + bias); with AUX what the gradient needs is written besides: a bit
                                    for each element of ReLU (product + bias > 0), the argument of GELU
    DRELU, DGELU                    D = product act'(.), from that AUX; with BGRAD its sums over our rows, (N,), too
    BGRADB                          besides the product, the sums of our A over K, (M,): dbias beside dweight
    BGRADA                          the sums of our B over K, (N,)

Source: the cuBLAS documentation, "cublasLtMatmul()" and "cublasLtEpilogue_t".
"""

from __future__ import annotations

from typing import NamedTuple

PITCH = {"RELU": 128, "GELU": 8}  # columns of AUX lie a multiple of so many bits or numbers apart
MOST = 2**31 - 1  # of rows, columns and distances
ALIGNED = 16  # bytes; more helps no algorithm


class Layout(NamedTuple):
    """Matrices in memory: element (i, j) at number i + j `ld`, those of a batch `step` numbers apart."""

    rows: int
    columns: int
    ld: int
    step: int


class Problem(NamedTuple):
    """D = epilogue(op(A) op(B)), with op(X) = X^T where `transpose_x`; aux: the layout of AUX, in bits for ReLU."""

    dtype: str
    tf32: bool
    a: Layout
    b: Layout
    d: Layout
    transpose_a: bool
    transpose_b: bool
    batch: int
    epilogue: str
    aux: Layout | None

    @property
    def compute(self) -> str:
        """What is added up in, by the name in `cublasComputeType_t`: halves in float32."""
        if self.dtype == "float64":
            return "COMPUTE_64F"
        return "COMPUTE_32F_FAST_TF32" if self.tf32 and self.dtype == "float32" else "COMPUTE_32F"


def describe(
    dtype: str, tf32: bool, m: int, n: int, k: int, a: tuple[int, int, int], b: tuple[int, int, int], batch: int = 1,
    epilogue: str = "DEFAULT",
) -> Problem | None:  # fmt: skip
    """The problem of C (M, N) = epilogue(A (M, K) B (K, N)); None where cuBLASLt has no word for it.

    a, b: strides from row to row, column to column, matrix to matrix, of which one of the first two must be 1. C lies
    row by row, its matrices M N apart.
    """
    first, second = _layout(k, n, *b), _layout(m, k, *a)
    if first is None or second is None or min(m, n, k, batch) < 1 or max(m, n, k, first[0].ld, second[0].ld) > MOST:
        return None
    return Problem(dtype, tf32, first[0], second[0], Layout(n, m, n, m * n), first[1], second[1], batch, epilogue,
                   aux_layout(epilogue, m, n))  # fmt: skip


def _layout(rows: int, columns: int, row: int, column: int, step: int) -> tuple[Layout, bool] | None:
    """Our (rows, columns) as it lies column by column, and whether that is to be transposed to be our transpose."""
    if column == 1 and (row >= columns or rows == 1):
        return Layout(columns, rows, max(row, columns), step), False
    if row == 1 and (column >= rows or columns == 1):
        return Layout(rows, columns, max(column, rows), step), True
    return None


def aux_layout(epilogue: str, m: int, n: int) -> Layout | None:
    """That of AUX for C (M, N), in bits for ReLU and in numbers for GELU; None for an epilogue without."""
    if "AUX" not in epilogue and not epilogue.startswith("D") or epilogue == "DEFAULT":
        return None
    pitch = PITCH["RELU" if "RELU" in epilogue else "GELU"]
    ld = -(-n // pitch) * pitch
    return Layout(n, m, ld, m * ld)


def aux_shape(epilogue: str, m: int, n: int) -> tuple[int, int]:
    """The array that AUX is: bytes for ReLU, numbers of the dtype for GELU."""
    layout = aux_layout(epilogue, m, n)
    assert layout is not None
    return m, layout.ld // 8 if "RELU" in epilogue else layout.ld


def epilogue_of(bias: bool, activation: str | None) -> str | None:
    """The forward epilogue's name, None where cuBLASLt has none for the activation."""
    if activation is None:
        return "BIAS" if bias else "DEFAULT"
    if activation == "relu":
        return "RELU_BIAS" if bias else "RELU"
    return None


def alignment(pointer: int) -> int:
    """Bytes that an address is a multiple of, as far as it matters."""
    return min(pointer & -pointer, ALIGNED) if pointer else ALIGNED
