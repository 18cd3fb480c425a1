"""A block of SIMD registers as a Numba value: `Tile(dtype, rows, vectors)`, `rows` x (`vectors` * `LANES`) numbers.

LLVM keeps a tile in registers while the loop around it is simple, which makes a micro-kernel four lines of Python::

    tile = tile_zero(ROWS, VECTORS, x)
    for k in range(depth):
        tile = tile_outer(tile, a + k * a_step, a_row, b + k * b_step)      # one rank-1 update, rows x vectors FMAs
    tile_store(tile, c, c_row)

The shape follows the register file: AVX2 and SSE have 16 registers (6 x 2 accumulators, 2 for b, 1 for a), AVX-512 and
NEON 32 (12 x 2). Addresses are plain integers (`address`) and strides are in bytes; nothing is checked.
"""

from __future__ import annotations

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from .registers import features


def _register_file() -> tuple[int, int]:
    """(bytes of a register, number of registers) of the CPU that Numba compiles for."""
    if "+avx512f" in features():
        return 64, 32
    if "+avx" in features():
        return 32, 16
    return 16, 32 if binding.get_process_triple().startswith(("aarch64", "arm64")) else 16


REGISTER_BYTES, _REGISTERS = _register_file()
VECTORS = 2
ROWS = 6 if _REGISTERS == 16 else 12


class TileType(types.Type):
    """`rows` x `vectors` registers of `dtype`, row by row."""

    def __init__(self, dtype, rows: int, vectors: int):
        self.dtype, self.rows, self.vectors = dtype, rows, vectors
        self.lanes = REGISTER_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Tile({dtype},{rows},{vectors})")

    @property
    def scalar(self) -> ir.Type:
        return ir.FloatType() if self.dtype.bitwidth == 32 else ir.DoubleType()

    @property
    def vector(self) -> ir.Type:
        return ir.VectorType(self.scalar, self.lanes)

    def cells(self):
        """(position in the tile, row, byte offset within the row) of each register."""
        for row in range(self.rows):
            for vector in range(self.vectors):
                yield row * self.vectors + vector, row, vector * REGISTER_BYTES


@register_model(TileType)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, ir.ArrayType(tile.vector, tile.rows * tile.vectors))


@intrinsic(prefer_literal=True)
def tile_zero(typing, rows, vectors, like):
    """A tile of zeros with the dtype of the array `like`."""
    if not isinstance(rows, types.IntegerLiteral):
        return None
    tile = TileType(like.dtype, rows.literal_value, vectors.literal_value)

    def codegen(context, builder, signature, values):
        return ir.Constant(context.get_value_type(tile), None)

    return tile(rows, vectors, like), codegen


@intrinsic
def tile_outer(typing, tile, a, a_row, b):
    """tile[i, j] += a[i] * b[j]: `a` is a column whose rows are `a_row` bytes apart, `b` a contiguous row."""

    def codegen(context, builder, signature, values):
        result, a, a_row, b = values
        fma = _fma(builder, tile)
        places = [builder.add(a, builder.mul(a_row, _word(i))) for i in range(tile.rows)]

        def row(i):
            return _spread(builder, tile, _load_scalar(builder, tile, places[i]))

        def column(v):
            return _load(builder, tile, _offset(builder, b, v * REGISTER_BYTES))

        def add(i, v, left, right):
            total = builder.call(fma, [left, right, builder.extract_value(result, i * tile.vectors + v)])
            return builder.insert_value(result, total, i * tile.vectors + v)

        # The shorter side stays in registers, the longer passes through one more: a tile of 12 fills 16 so.
        if tile.vectors <= tile.rows:
            across = [column(v) for v in range(tile.vectors)]
            for i in range(tile.rows):
                value = row(i)
                for v, vector in enumerate(across):
                    result = add(i, v, value, vector)
        else:
            down = [row(i) for i in range(tile.rows)]
            for v in range(tile.vectors):
                vector = column(v)
                for i, value in enumerate(down):
                    result = add(i, v, value, vector)
        return result

    return tile(tile, types.intp, types.intp, types.intp), codegen


@intrinsic
def tile_multiply(typing, tile, a, a_row, b):
    """tile[i, j] += a[i, j] * b[j]: the rows of `a` are `a_row` bytes apart, `b` is one contiguous row."""

    def codegen(context, builder, signature, values):
        result, a, a_row, b = values
        fma = _fma(builder, tile)
        row_b = [_load(builder, tile, _offset(builder, b, v * REGISTER_BYTES)) for v in range(tile.vectors)]
        for cell, row, offset in tile.cells():
            place = _offset(builder, builder.add(a, builder.mul(a_row, _word(row))), offset)
            value = _load(builder, tile, place)
            total = builder.call(fma, [value, row_b[offset // REGISTER_BYTES], builder.extract_value(result, cell)])
            result = builder.insert_value(result, total, cell)
        return result

    return tile(tile, types.intp, types.intp, types.intp), codegen


@intrinsic
def tile_add(typing, tile, c, c_row):
    """tile + the tile at address `c`, rows `c_row` bytes apart."""

    def codegen(context, builder, signature, values):
        result, c, c_row = values
        for cell, row, offset in tile.cells():
            place = _offset(builder, builder.add(c, builder.mul(c_row, _word(row))), offset)
            total = builder.fadd(_load(builder, tile, place), builder.extract_value(result, cell))
            result = builder.insert_value(result, total, cell)
        return result

    return tile(tile, types.intp, types.intp), codegen


@intrinsic
def tile_store(typing, tile, c, c_row):
    """Write the tile to address `c`, rows `c_row` bytes apart."""

    def codegen(context, builder, signature, values):
        value, c, c_row = values
        for cell, row, offset in tile.cells():
            place = _offset(builder, builder.add(c, builder.mul(c_row, _word(row))), offset)
            store = builder.store(builder.extract_value(value, cell), _pointer(builder, tile.vector, place))
            store.align = tile.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(tile, types.intp, types.intp), codegen


@intrinsic
def tile_add_row(typing, tile, b):
    """tile[i, j] + b[j]: one contiguous row, a bias, is added to every row."""

    def codegen(context, builder, signature, values):
        result, b = values
        row_b = [_load(builder, tile, _offset(builder, b, v * REGISTER_BYTES)) for v in range(tile.vectors)]
        for cell, _, offset in tile.cells():
            total = builder.fadd(builder.extract_value(result, cell), row_b[offset // REGISTER_BYTES])
            result = builder.insert_value(result, total, cell)
        return result

    return tile(tile, types.intp), codegen


@intrinsic
def tile_relu(typing, tile):
    """0 where tile <= 0, else tile: NaN stays NaN."""

    def codegen(context, builder, signature, values):
        (result,) = values
        zero = ir.Constant(tile.vector, None)
        for cell, _, _ in tile.cells():
            value = builder.extract_value(result, cell)
            kept = builder.select(builder.fcmp_ordered("<=", value, zero), zero, value)
            result = builder.insert_value(result, kept, cell)
        return result

    return tile(tile), codegen


@intrinsic
def read(typing, like, place):
    """The number at an address, of the dtype of the array `like`."""
    tile = TileType(like.dtype, 1, 1)

    def codegen(context, builder, signature, values):
        return _load_scalar(builder, tile, values[1])

    return like.dtype(like, types.intp), codegen


@intrinsic
def copy_bytes(typing, to, start, count):
    """Copy `count` bytes from address `start` to address `to`; nothing where count <= 0."""

    def codegen(context, builder, signature, values):
        byte = ir.IntType(8)
        to, start = (_pointer(builder, byte, place) for place in values[:2])
        with builder.if_then(builder.icmp_signed(">", values[2], _word(0))):
            cgutils.raw_memcpy(builder, to, start, values[2], 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def zero_bytes(typing, to, count):
    """Set `count` bytes at address `to` to zero; nothing where count <= 0."""

    def codegen(context, builder, signature, values):
        with builder.if_then(builder.icmp_signed(">", values[1], _word(0))):
            cgutils.memset(builder, _pointer(builder, ir.IntType(8), values[0]), values[1], 0)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def prefetch(typing, place):
    """Ask for the cache line at an address, which may lie anywhere: nothing waits for it, and nothing faults."""

    def codegen(context, builder, signature, values):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        read, keep, data = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(fetch, [builder.inttoptr(values[0], byte), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@intrinsic
def lanes(typing, like):
    """How many numbers of the dtype of the array `like` one register holds."""
    count = REGISTER_BYTES * 8 // like.dtype.bitwidth

    def codegen(context, builder, signature, values):
        return _word(count)

    return types.intp(like), codegen


@intrinsic
def address(typing, array, index):
    """Address of ``array[index]``, an integer; `index` is a tuple with one entry for each axis."""

    def codegen(context, builder, signature, values):
        view = context.make_array(array)(context, builder, values[0])
        place = builder.ptrtoint(view.data, _word(0).type)
        strides = cgutils.unpack_tuple(builder, view.strides, array.ndim)
        for step, position in zip(strides, cgutils.unpack_tuple(builder, values[1]), strict=True):
            place = builder.add(place, builder.mul(step, position))
        return place

    return types.intp(array, types.UniTuple(types.intp, array.ndim)), codegen


def _fma(builder, tile):
    kind = ir.FunctionType(tile.vector, [tile.vector] * 3)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{tile.lanes}f{tile.dtype.bitwidth}")


def _word(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(types.intp.bitwidth), value)


def _offset(builder, place, bytes_: int):
    return builder.add(place, _word(bytes_)) if bytes_ else place


def _pointer(builder, kind, place):
    return builder.inttoptr(place, kind.as_pointer())


def _load(builder, tile, place):
    value = builder.load(_pointer(builder, tile.vector, place))
    value.align = tile.dtype.bitwidth // 8
    return value


def _load_scalar(builder, tile, place):
    return builder.load(_pointer(builder, tile.scalar, place))


def _spread(builder, tile, scalar):
    """A register with `scalar` in every lane."""
    empty = ir.Constant(tile.vector, ir.Undefined)
    first = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), tile.lanes), [0] * tile.lanes)
    return builder.shuffle_vector(first, empty, everywhere)
