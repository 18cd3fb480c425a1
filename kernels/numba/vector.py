"""One SIMD register as a Numba value, for loops that LLVM would not vectorise by itself; and + - * of tiles.

`vector_load` gives a `Tile` of one register. Tiles of one shape are added, subtracted and multiplied number by number,
with each other and with plain numbers, which are rounded to the tile's dtype. A product that is added may be fused.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from .simd import TileType, _load, _pointer, _spread, _word

_FLAGS = ("contract",)


@intrinsic
def vector_load(typing, like, place):
    """The register at an address, of the dtype of the array `like`."""
    vector = TileType(like.dtype, 1, 1)

    def codegen(context, builder, signature, values):
        return _wrap(context, builder, vector, _load(builder, vector, values[1]))

    return vector(like, types.intp), codegen


@intrinsic
def vector_store(typing, vector, place):
    """Write a register to an address."""

    def codegen(context, builder, signature, values):
        value, place = values
        store = builder.store(builder.extract_value(value, 0), _pointer(builder, vector.vector, place))
        store.align = vector.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(vector, types.intp), codegen


@intrinsic
def vector_load_part(typing, like, place, count):
    """The register at an address, its first `count` lanes: 0 beyond, where no memory is read."""
    vector = TileType(like.dtype, 1, 1)

    def codegen(context, builder, signature, values):
        return _wrap(context, builder, vector, _load_part(builder, vector.vector, values[1], values[2]))

    return vector(like, types.intp, types.intp), codegen


@intrinsic
def vector_store_part(typing, vector, place, count):
    """Write the first `count` lanes of a register to an address."""

    def codegen(context, builder, signature, values):
        value, place, count = values
        _store_part(builder, builder.extract_value(value, 0), place, count)
        return context.get_dummy_value()

    return types.void(vector, types.intp, types.intp), codegen


@intrinsic
def transpose_block(typing, like, place, row, to, to_row):
    """Transpose a square of as many rows and columns as a register has lanes; strides in bytes."""
    vector = TileType(like.dtype, 1, 1)

    def codegen(context, builder, signature, values):
        _, place, row, to, to_row = values
        rows = [_load(builder, vector, builder.add(place, builder.mul(row, _word(i)))) for i in range(vector.lanes)]
        for i, each in enumerate(_transposed(builder, rows)):
            place = _pointer(builder, vector.vector, builder.add(to, builder.mul(to_row, _word(i))))
            builder.store(each, place).align = vector.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(like, types.intp, types.intp, types.intp, types.intp), codegen


@intrinsic
def transpose_part(typing, like, place, row, rows, columns, to, to_row):
    """As `transpose_block`, of a square of which only some rows and columns are there.

    The result has so many rows as there are columns, in whole registers: zeros stand for rows that are not there.
    """
    vector = TileType(like.dtype, 1, 1)

    def codegen(context, builder, signature, values):
        _, place, row, rows, columns, to, to_row = values
        parts = []
        for i in range(vector.lanes):
            count = builder.select(builder.icmp_signed("<", _word(i), rows), columns, _word(0))
            parts.append(_load_part(builder, vector.vector, builder.add(place, builder.mul(row, _word(i))), count))
        for i, each in enumerate(_transposed(builder, parts)):
            with builder.if_then(builder.icmp_signed("<", _word(i), columns)):
                at = _pointer(builder, vector.vector, builder.add(to, builder.mul(to_row, _word(i))))
                builder.store(each, at).align = vector.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(like, *[types.intp] * 6), codegen


def _transposed(builder, rows: list) -> list:
    """As many registers as each has lanes, transposed.

    Each round interleaves the rows of one half with those of the other (a perfect shuffle of the row and column bits);
    after log2(lanes) rounds the rows have become columns.
    """
    lanes = len(rows)
    half = lanes // 2
    order = [[start + i // 2 + (i % 2) * lanes for i in range(lanes)] for start in (0, half)]
    masks = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), each) for each in order]
    for _ in range(lanes.bit_length() - 1):
        rows = [builder.shuffle_vector(rows[i // 2], rows[i // 2 + half], masks[i % 2]) for i in range(lanes)]
    return rows


@intrinsic
def vector_where_larger(typing, a, b, x, y):
    """x where a > b, or a is NaN and b is not; elsewhere y."""

    def codegen(context, builder, signature, values):
        a, b, x, y = (builder.extract_value(value, 0) for value in values)
        larger = builder.and_(builder.fcmp_unordered(">", a, b), builder.fcmp_ordered("ord", b, b))
        return _wrap(context, builder, signature.return_type, builder.select(larger, x, y))

    return x(a, b, x, y), codegen


@intrinsic
def vector_where_equal(typing, a, b, x, y):
    """x where a = b, elsewhere y."""

    def codegen(context, builder, signature, values):
        a, b, x, y = (builder.extract_value(value, 0) for value in values)
        return _wrap(context, builder, signature.return_type, builder.select(builder.fcmp_ordered("==", a, b), x, y))

    return x(a, b, x, y), codegen


@intrinsic
def vector_largest(typing, vector):
    """The largest lane, a number; NaN where all lanes are."""

    def codegen(context, builder, signature, values):
        register = builder.extract_value(values[0], 0)
        kind = ir.FunctionType(vector.scalar, [register.type])
        name = f"llvm.vector.reduce.fmax.v{vector.lanes}f{vector.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [register])

    return vector.dtype(vector), codegen


@intrinsic
def vector_load_as(typing, like, array, place):
    """A register of the dtype of `like` from integers, not negative, of the dtype of `array` (uint8 or int32)."""
    vector = TileType(like.dtype, 1, 1)

    def codegen(context, builder, signature, values):
        value = builder.load(_pointer(builder, _integers(array.dtype.bitwidth, vector), values[2]))
        value.align = array.dtype.bitwidth // 8
        return _from_integers(context, builder, vector, array, value)

    return vector(like, array, types.intp), codegen


@intrinsic
def vector_load_as_part(typing, like, array, place, count):
    """The first `count` lanes of that, 0 beyond."""
    vector = TileType(like.dtype, 1, 1)

    def codegen(context, builder, signature, values):
        value = _load_part(builder, _integers(array.dtype.bitwidth, vector), values[2], values[3])
        return _from_integers(context, builder, vector, array, value)

    return vector(like, array, types.intp, types.intp), codegen


def _from_integers(context, builder, vector, array, value):
    if array.dtype.bitwidth < 32:
        value = builder.zext(value, _integers(32, vector))
    return _wrap(context, builder, vector, builder.sitofp(value, vector.vector))


@intrinsic
def vector_store_as(typing, vector, array, place):
    """Write a register as integers of the dtype of `array` (uint8 or int32), none negative."""

    def codegen(context, builder, signature, values):
        value = _to_integers(builder, vector, array, values[0])
        store = builder.store(value, _pointer(builder, value.type, values[2]))
        store.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(vector, array, types.intp), codegen


@intrinsic
def vector_store_as_part(typing, vector, array, place, count):
    """Write the first `count` lanes of a register so."""

    def codegen(context, builder, signature, values):
        _store_part(builder, _to_integers(builder, vector, array, values[0]), values[2], values[3])
        return context.get_dummy_value()

    return types.void(vector, array, types.intp, types.intp), codegen


def _to_integers(builder, vector, array, value):
    value = builder.fptosi(builder.extract_value(value, 0), _integers(32, vector))
    return builder.trunc(value, _integers(array.dtype.bitwidth, vector)) if array.dtype.bitwidth < 32 else value


def _integers(bits, vector) -> ir.Type:
    """As many integers as the vector has lanes."""
    return ir.VectorType(ir.IntType(bits), vector.lanes)


def _load_part(builder, kind, place, count):
    """The first `count` elements of a vector type at an address, 0 beyond: a masked load, which faults on none."""
    pointer, mask = _pointer(builder, kind, place), _first_lanes(builder, kind.count, count)
    function = ir.FunctionType(kind, [pointer.type, ir.IntType(32), mask.type, kind])
    load = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.load.{_suffix(kind)}")
    return builder.call(load, [pointer, _alignment(kind), mask, ir.Constant(kind, None)])


def _store_part(builder, value, place, count) -> None:
    kind = value.type
    pointer, mask = _pointer(builder, kind, place), _first_lanes(builder, kind.count, count)
    function = ir.FunctionType(ir.VoidType(), [kind, pointer.type, ir.IntType(32), mask.type])
    store = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.store.{_suffix(kind)}")
    builder.call(store, [value, pointer, _alignment(kind), mask])


def _first_lanes(builder, lanes, count):
    """Which lanes are among the first `count`."""
    numbers = ir.VectorType(ir.IntType(32), lanes)
    count = builder.trunc(count, ir.IntType(32))
    spread = builder.insert_element(ir.Constant(numbers, ir.Undefined), count, ir.Constant(ir.IntType(32), 0))
    spread = builder.shuffle_vector(spread, spread, ir.Constant(numbers, [0] * lanes))
    return builder.icmp_signed("<", ir.Constant(numbers, list(range(lanes))), spread)


def _suffix(kind) -> str:
    """How LLVM names a vector type and a pointer to it in its intrinsics."""
    element = kind.element
    letter = f"i{element.width}" if isinstance(element, ir.IntType) else f"f{8 * _bytes(element)}"
    return f"v{kind.count}{letter}.p0v{kind.count}{letter}"


def _alignment(kind) -> ir.Constant:
    return ir.Constant(ir.IntType(32), _bytes(kind.element))


def _bytes(element) -> int:
    return element.width // 8 if isinstance(element, ir.IntType) else 4 if isinstance(element, ir.FloatType) else 8


def _is_operand(kind) -> bool:
    return isinstance(kind, (TileType, types.Integer, types.Float))


class _Arithmetic(AbstractTemplate):
    def generic(self, args, kws):
        tiles = [kind for kind in args if isinstance(kind, TileType)]
        if len(args) == 2 and len(set(tiles)) == 1 and all(map(_is_operand, args)):
            return signature(tiles[0], *args)
        return None


def _define(symbol, instruction):
    infer_global(symbol)(type(f"_{instruction}", (_Arithmetic,), {"key": symbol}))

    def lower(context, builder, signature, values):
        tile = signature.return_type
        left, right = (_registers(context, builder, tile, *each) for each in zip(signature.args, values, strict=True))
        result = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for i, pair in enumerate(zip(left, right, strict=True)):
            result = builder.insert_value(result, getattr(builder, instruction)(*pair, flags=_FLAGS), i)
        return result

    for number in (types.Integer, types.Float):
        lower_builtin(symbol, TileType, number)(lower)
        lower_builtin(symbol, number, TileType)(lower)
    lower_builtin(symbol, TileType, TileType)(lower)


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _define(_symbol, _instruction)


def _registers(context, builder, tile, kind, value) -> list:
    """Those of a tile, or one with a number in every lane for each of them."""
    count = tile.rows * tile.vectors
    if isinstance(kind, TileType):
        return [builder.extract_value(value, i) for i in range(count)]
    return [_spread(builder, tile, context.cast(builder, value, kind, tile.dtype))] * count


def _wrap(context, builder, vector, register):
    return builder.insert_value(ir.Constant(context.get_value_type(vector), ir.Undefined), register, 0)
