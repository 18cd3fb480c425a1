"""Compiles CUDA kernels for the CPU by Numba; `fibers` runs them. No CUDA package is needed."""

from __future__ import annotations

import pickle
from types import ModuleType
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.core.registry import cpu_target
from numba.extending import intrinsic, lower_builtin, models, overload_attribute, register_model, typeof_impl

from . import fibers, folder
from .dialect import Kernel, bind
from .half import BY_INTEGERS, teach
from .kinds import kind_types
from .wide import accesses

for _name, _address in fibers.symbols.items():
    llvmlite.binding.add_symbol(_name, _address)


_PACKAGES, _SOURCES = ("numba", "llvmlite", "numpy"), ("host", "half", "wide", "kinds", "dialect")


class _Place:
    """threadIdx and its like: `x` and `y` are read from the running fiber."""

    def __init__(self, name: str):
        self.name = name


class _PlaceType(types.Type):
    def __init__(self, name: str):
        super().__init__(f"cuda.{name}")
        self.place = name


register_model(_PlaceType)(models.OpaqueModel)


@typeof_impl.register(_Place)
def _(value, context):
    return _PlaceType(value.name)


@lower_constant(_PlaceType)
def _(context, builder, kind, value):
    return context.get_dummy_value()


def _give_axis(axis: str) -> None:
    def read(place):
        reader = types.ExternalFunction(f"dl_{place.place}_{axis}", types.int32())
        return lambda place: reader()

    overload_attribute(_PlaceType, axis)(read)


_give_axis("x")
_give_axis("y")
_give_axis("z")


@intrinsic
def _shared(typing, count, dtype):
    """The address of `count` numbers in the shared memory of the block."""

    def codegen(context, builder, signature, values):
        number = context.get_data_type(dtype.dtype)
        size = ir.IntType(64)(context.get_abi_sizeof(number))
        kind = ir.FunctionType(ir.IntType(8).as_pointer(), [ir.IntType(64)])
        take = cgutils.get_or_insert_function(builder.module, kind, "dl_shared")
        return builder.bitcast(builder.call(take, [builder.mul(values[0], size)]), number.as_pointer())

    return types.CPointer(dtype.dtype)(types.int64, dtype), codegen


@njit
def _shared_array(shape, dtype, alignment=16):
    return carray(_shared(shape, dtype), shape)


@njit
def _local_array(shape, dtype):
    return np.empty(shape, dtype)


teach(BY_INTEGERS, lower_builtin, register_model, models)
_load4, _store4 = map(intrinsic, accesses(BY_INTEGERS))


@intrinsic
def _shuffle_xor(typing, value, mask):
    def codegen(context, builder, signature, values):
        word, number = ir.IntType(64), values[0].type
        bits = ir.IntType(context.get_abi_sizeof(number) * 8)
        kind = ir.FunctionType(word, [word, ir.IntType(32)])
        shuffle = cgutils.get_or_insert_function(builder.module, kind, "dl_shuffle_xor")
        sent = builder.zext(builder.bitcast(values[0], bits), word)
        got = builder.call(shuffle, [sent, builder.trunc(values[1], ir.IntType(32))])
        return builder.bitcast(builder.trunc(got, bits), number)

    return value(value, types.int64), codegen


@njit
def shuffle_xor(value, mask):
    return _shuffle_xor(value, mask)


def _module(name: str, **members) -> ModuleType:
    """A module, since Numba reads the members of modules."""
    module = ModuleType(name)
    vars(module).update(members)
    return module


_CUDA = _module(
    "cuda",
    threadIdx=_Place("thread"),
    blockIdx=_Place("block"),
    blockDim=_Place("block_dim"),
    gridDim=_Place("grid_dim"),
    syncthreads=types.ExternalFunction("dl_barrier", types.void()),
    shared=_module("cuda.shared", array=_shared_array),
    local=_module("cuda.local", array=_local_array),
)


@intrinsic
def _argument(typing, cell, kind):
    """Argument of a kernel from the 64 bits of its cell."""
    wanted = kind.dtype if isinstance(kind, types.NumberClass) else kind.instance_type

    def codegen(context, builder, signature, values):
        target = context.get_value_type(wanted)
        if isinstance(wanted, types.CPointer):
            return builder.inttoptr(values[0], target)
        bits = ir.IntType(context.get_abi_sizeof(target) * 8)
        value = builder.trunc(values[0], bits) if bits.width < 64 else values[0]
        return builder.bitcast(value, target)

    return wanted(types.int64, kind), codegen


class Entry(NamedTuple):
    """A compiled kernel: the address of its C function over cells, and the library that it lives in."""

    address: int
    library: Any


def compile_kernel(kernel: Kernel, dtype: np.dtype) -> Entry:
    """A kernel for arrays of a dtype, for `fibers.launch`; from the disk where it has been compiled before."""
    codegen = cpu_target.target_context.codegen()
    path = folder.place(kernel, "host", _PACKAGES, _SOURCES, dtype, codegen.magic_tuple())
    if (content := folder.kept(path)) is not None:
        cpu_target.target_context.refresh()  # what compiled code calls must be there
        name, serialized = pickle.loads(content)
        library = codegen.unserialize_library(serialized)
    else:
        compiled = _compiled(kernel, dtype, path.stem.rpartition("-")[2])
        name, library = compiled.native_name, compiled._library
        if not library.has_dynamic_globals:
            folder.keep(path, pickle.dumps((name, library.serialize_using_object_code())))
    return Entry(library.get_pointer_to_function(name), library)


def _compiled(kernel: Kernel, dtype: np.dtype, digest: str):
    """Machine code whose functions are named after the digest of the kernel.

    Numba numbers functions of one name, anew in each process: of two kernels that two processes have kept, one would
    else run for both.
    """
    kinds = kind_types(dtype)
    meanings = {"cuda": _CUDA, "load4": _load4, "store4": _store4, "shuffle_xor": shuffle_xor, "real": kinds["f"],
                "i32": types.int32, "i64": types.int64, "f64": types.float64}  # fmt: skip
    options = {"error_model": "numpy", "nogil": True}

    def compiled(function):
        function.__qualname__ = f"{function.__name__}_{digest}"
        return njit(function, **options)

    body = compiled(bind(kernel.function, meanings, compiled))
    arguments = ", ".join(f"argument(cells[{j}], k{j})" for j in range(len(kernel.kinds)))
    scope = {"body": body, "argument": _argument, **{f"k{j}": kinds[kind] for j, kind in enumerate(kernel.kinds)}}
    exec(f"def entry_{digest}(cells):\n    body({arguments})\n", scope)
    return cfunc(types.void(types.CPointer(types.int64)), **options)(scope[f"entry_{digest}"])
