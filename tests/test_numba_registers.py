"""Registers of which only some lanes exist, narrow tiles, and the width that LLVM is asked for."""

import ctypes
import mmap
import sys

import numpy as np
import pytest

pytest.importorskip("dlfast.kernels.numba.vector")
from dlfast import numba_kernels
from dlfast.kernels.numba import gemm, registers
from dlfast.kernels.numba.jit import cache_folder, jit
from dlfast.kernels.numba.keeping import KernelCache
from dlfast.kernels.numba.simd import REGISTER_BYTES, address, tile_outer, tile_store, tile_zero
from dlfast.kernels.numba.vector import (
    transpose_part,
    vector_load,
    vector_load_as_part,
    vector_load_part,
    vector_store,
    vector_store_as_part,
    vector_store_part,
)

DTYPES = [np.float32, np.float64]


@jit(keep=False)
def _copy(x, y, count):
    vector_store_part(vector_load_part(x, address(x, (0,)), count), address(y, (0,)), count)


@jit(keep=False)
def _copy_zeros(x, y, count):
    """All lanes are written, of which `count` were read."""
    vector_store_part(vector_load_part(x, address(x, (0,)), count), address(y, (0,)), y.size)


@jit(keep=False)
def _copy_integers(x, like, y, count):
    value = vector_load_as_part(like, x, address(x, (0,)), count)
    vector_store_as_part(value, y, address(y, (0,)), count)


@jit(keep=False)
def _transpose(x, y, rows, columns):
    transpose_part(x, address(x, (0, 0)), x.strides[0], rows, columns, address(y, (0, 0)), y.strides[0])


def counts(dtype):
    return range(REGISTER_BYTES // np.dtype(dtype).itemsize + 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes_beyond_the_count_are_neither_read_nor_written(dtype):
    for count in counts(dtype):
        x = np.arange(1, counts(dtype).stop, dtype=dtype)
        y, z = np.full(x.size + 1, 99, dtype), np.full(x.size, 99, dtype)
        _copy(x, y, count)
        np.testing.assert_array_equal(y, [*x[:count], *[99] * (y.size - count)])
        _copy_zeros(x, z, count)
        np.testing.assert_array_equal(z, [*x[:count], *[0] * (x.size - count)])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_may_end_with_the_last_page_there_is(dtype):
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    pages = np.frombuffer(memory, np.uint8)
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    second = ctypes.c_void_p(pages.ctypes.data + mmap.PAGESIZE)
    assert mprotect(second, mmap.PAGESIZE, 0) == 0
    try:
        for count in counts(dtype):
            end = pages[mmap.PAGESIZE - count * np.dtype(dtype).itemsize : mmap.PAGESIZE].view(dtype)
            end[:] = np.arange(count)
            y = np.zeros(counts(dtype).stop, dtype)
            _copy(end, y, count)
            np.testing.assert_array_equal(y[:count], np.arange(count))
            _copy(y + 1, end, count)
            np.testing.assert_array_equal(end, np.arange(count) + 1)
    finally:
        assert mprotect(second, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("integers", [np.uint8, np.int32])
def test_integers_of_the_lanes_that_exist(integers, dtype):
    for count in counts(dtype):
        x = np.arange(100, 99 + counts(dtype).stop, dtype=integers)
        y = np.full(x.size + 1, 7, integers)
        _copy_integers(x, np.zeros(1, dtype), y, count)
        np.testing.assert_array_equal(y, [*x[:count], *[7] * (y.size - count)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose_of_part_of_a_square(dtype):
    lanes = counts(dtype).stop - 1
    x = np.random.default_rng(0).standard_normal((lanes, lanes)).astype(dtype)
    for rows in range(-1, lanes + 1):
        for columns in range(lanes + 1):
            y = np.full((lanes, lanes), 99, dtype)
            _transpose(x, y, rows, columns)
            there = max(0, rows)
            np.testing.assert_array_equal(y[:columns, :there], x[:there, :columns].T)
            assert not y[:columns, there:].any()
            assert (y[columns:] == 99).all()


@jit
def _polynomial(a, b, x, y, z):
    """Outer products in tiles of several registers, and their sums, differences and products."""
    tile = tile_zero(2, 3, x)
    for k in range(2):
        tile = tile_outer(tile, address(a, (0, k)), a.strides[0], address(b, (k, 0)))
    tile_store((2 - tile) * tile + tile * 0.5, address(y, (0, 0)), y.strides[0])
    vector = vector_load(x, address(x, (0,)))
    vector_store(vector * vector - 1, address(z, (0,)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_are_added_subtracted_and_multiplied(dtype):
    lanes = counts(dtype).stop - 1
    rng = np.random.default_rng(0)
    a, b, x = (rng.standard_normal(shape).astype(dtype) for shape in ((2, 2), (2, 3 * lanes), lanes))
    y, z = np.full((2, 3 * lanes), 99, dtype), np.full(lanes, 99, dtype)
    _polynomial(a, b, x, y, z)
    t = a.astype(np.float64) @ b
    np.testing.assert_allclose(y, (2 - t) * t + t / 2, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(z, x.astype(np.float64) ** 2 - 1, rtol=1e-5, atol=1e-5)


def test_kernels_of_users_are_never_kept():
    """Their sources are not those that the cache's key is made of: a kept one could be stale."""
    _copy(np.ones(counts(np.float32).stop, np.float32), np.ones(counts(np.float32).stop, np.float32), 1)
    for kernel in (_polynomial, numba_kernels.mapped(_one_more)._kernel):
        assert not isinstance(kernel._cache, KernelCache)
    assert isinstance(gemm._gemm._cache, KernelCache) or cache_folder() is None


def _one_more(x):
    return x + 1


def test_the_public_door():
    for name in numba_kernels.__all__:
        assert hasattr(numba_kernels, name), name
        assert name in ("ROWS", "VECTORS") or f"`{name}" in numba_kernels.__doc__, f"{name} is not explained"


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_with_few_columns(dtype):
    """One register holds them, two do, or one beside whole tiles; rows left over, bias and ReLU."""
    rng, lanes = np.random.default_rng(1), counts(dtype).stop - 1
    for n in (1, lanes - 1, lanes, lanes + 1, 2 * lanes, 3 * lanes, 3 * lanes + 1):
        a, b = rng.standard_normal((37, 70)).astype(dtype), rng.standard_normal((n, 70)).astype(dtype)
        bias = rng.standard_normal(n).astype(dtype)
        wanted = np.maximum(a.astype(float) @ b.T.astype(float) + bias, 0)
        np.testing.assert_allclose(gemm.gemm(a, b, trans_b=True, bias=bias, relu=True), wanted, atol=1e-4)
        np.testing.assert_allclose(gemm.gemm(a, b.T.copy(), bias=bias, relu=True), wanted, atol=1e-4)


def test_512_bits_are_asked_for_where_they_exist():
    assert registers.widened("+avx2,+avx512f", "512") == "+avx2,+avx512f,-prefer-256-bit"
    assert registers.widened("+avx2,-avx512f", "512") == "+avx2,-avx512f"
    assert registers.widened("+avx2,+avx512f", None) == "+avx2,+avx512f"
