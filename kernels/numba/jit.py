"""`jit` compiles a kernel and keeps it on disk; `parallel_for` runs the jobs of a kernel on the thread pool.

The cache lies in the user's cache folder (``DLFAST_CACHE_DIR`` moves it) under a key made from the sources of all
kernels and the versions of Numba and NumPy: an edit anywhere never meets a stale kernel, which Numba's own per-file
stamp cannot promise. Where no folder can be written kernels are compiled for the process alone.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import llvmlite.binding
import numba
import numpy
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import _CacheLocator
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from platformdirs import user_cache_dir

from ..runtime import threads
from . import registers  # noqa: F401  (before anything is compiled)
from .compiling import compilations
from .keeping import KernelCache

SERIAL_WORK = 1 << 16  # multiply-adds below which waking the pool costs more than it brings


def jit(function=None, *, keep: bool = True, **options):
    """`numba.njit` that releases the GIL, divides as C does and, with ``keep``, caches by all kernel sources.

    Helpers that only other kernels call need no cache of their own: ``keep=False``. Kernels of users, whose sources are
    not among these, are never kept: each process compiles them anew, and none meets a stale one.
    """
    if function is None:
        return lambda f: jit(f, keep=keep, **options)
    dispatcher = numba.njit(function, nogil=True, error_model="numpy", **options)
    ours = function.__module__.startswith(f"{__package__}.")
    if keep and ours and cache_folder() is not None:
        dispatcher._cache = _KernelCache(function)
    return dispatcher


def helper(function=None, *, noalias: bool = False, **options):
    """A function that only kernels call: compiled into its callers.

    ``noalias`` promises that no array it writes overlaps another: loops need no check for that, and compile faster.
    """
    compiler = _NoAliasCompiler if noalias else _HelperCompiler
    return jit(function, keep=False, pipeline_class=compiler, no_cpython_wrapper=True, no_cfunc_wrapper=True,
               **options)  # fmt: skip


def contiguous(x: numpy.ndarray) -> numpy.ndarray:
    """`x` itself, or a copy where it is strided, read-only or unaligned: kernels are compiled for one layout."""
    if not x.flags.carray:
        return numpy.array(x, order="C")
    # NumPy calls an array contiguous whatever the stride of an axis of size 1 (x[..., None] has stride 0 there).
    # Kernels step along the inner axes of images, but never from row to row of a matrix that has one row.
    if 1 in (x.shape if x.ndim > 2 else x.shape[1:]):
        return x.reshape(-1).reshape(x.shape)
    return x


class _HelperLibrary(JITCodeLibrary):
    """Code that is only ever linked into its callers: leaving it raw until then halves the time to compile a kernel."""

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalized = True

    def get_pointer_to_function(self, name):
        return 0

    @property
    def codegen(self):
        return self

    def set_env(self, name, environment):
        """An environment serves exceptions and object mode, which helpers do not have."""


class _HelperCompiler(CompilerBase):
    def define_pipelines(self):
        self.state.library = _HelperLibrary(self.state.targetctx.codegen(), "helper")
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


class _NoAliasCompiler(_HelperCompiler):
    def define_pipelines(self):
        self.state.flags.noalias = True
        return super().define_pipelines()


@cache
def cache_folder() -> Path | None:
    """The folder of compiled kernels for these very sources; None where there is none, and none can be made.

    It may be read-only: what it holds is used, and what it lacks is compiled by each process for itself.
    """
    root = Path(os.environ.get("DLFAST_CACHE_DIR") or user_cache_dir("dlfast", appauthor=False))
    folder = root / f"kernels-{_sources_key()}"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if folder.is_dir() and os.access(folder, os.R_OK) else None


def _sources_key(kernels: Path = Path(__file__).parent) -> str:
    digest = hashlib.sha256(f"{numba.__version__} {numpy.__version__}".encode())
    for path in sorted(kernels.glob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.name} {len(source)} ".encode() + source)
    return digest.hexdigest()[:16]


def _told(folder: Path | None) -> str:
    if folder is None:
        return "no folder can be written to keep them in"
    return f"they are kept in {folder}" if os.access(folder, os.W_OK) else f"{folder} is read-only and lacks some"


compilations.where = _told(cache_folder())


class _Locator(_CacheLocator):
    """Tells Numba's cache to keep a kernel in `cache_folder`; the folder's name is the stamp."""

    def __init__(self, function):
        self._name = f"{function.__module__}.{function.__qualname__}"

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return cache_folder().name

    def get_disambiguator(self) -> str:
        return hashlib.sha256(self._name.encode()).hexdigest()[:10]

    @classmethod
    def from_function(cls, function, path):
        return cls(function)


class _KernelCacheImpl(KernelCache._impl_class):
    _locator_classes = (_Locator,)


class _KernelCache(KernelCache):
    _impl_class = _KernelCacheImpl


# The symbol is resolved anew in each process, so that cached machine code holds no address.
llvmlite.binding.add_symbol("dlfast_parallel_for", threads.parallel_for_address())
llvmlite.binding.add_symbol("dlfast_run_here", threads.run_here_address())
llvmlite.binding.add_symbol("dlfast_scratch", threads.scratch_address())


@intrinsic
def parallel_for(typing, job, jobs, arguments, serial):
    """Call ``job(index, worker, *arguments)`` for each index below ``jobs`` on the threads of the pool.

    ``job`` is a `helper` without result; its memory is `scratch`, and nothing is sized by the number of threads, which
    may change between two statements. ``worker`` is 0 for the calling thread. The indices come in any order. With
    ``serial`` (for work too small to share) the calling thread does them all. Raises MemoryError where `scratch` did in
    a job; a job may raise nothing else.
    """
    signature = job.get_call_type(typing, (types.intp, types.intp, *arguments.types), {})

    def codegen(context, builder, _, values):
        _, count, packed, alone = values
        compiled = job.dispatcher.get_compile_result(signature)
        context.active_code_library.add_linking_library(compiled.library)
        callback = _job_callback(context, builder, compiled.fndesc, signature, packed.type)
        slot = builder.bitcast(cgutils.alloca_once_value(builder, packed), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.IntType(32), [callback.type, slot.type, count.type])
        here, shared = (
            cgutils.get_or_insert_function(builder.module, kind, f"dlfast_{name}")
            for name in ("run_here", "parallel_for")
        )
        run = builder.select(cgutils.is_true(builder, alone), here, shared)
        with builder.if_then(cgutils.is_not_null(builder, builder.call(run, [callback, slot, count])), likely=False):
            _raise_memory_error(context, builder)
        return context.get_dummy_value()

    return types.void(job, types.intp, arguments, types.boolean), codegen


def _job_callback(context, builder, fndesc, signature, packed_type):
    """A C function ``void (void *arguments, intp index, intp worker)`` that unpacks the arguments and calls the job.

    An error of the job ends it and goes no further: the pool has noted that memory was short.
    """
    word = ir.IntType(types.intp.bitwidth)
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), word, word])
    callback = ir.Function(builder.module, kind, builder.module.get_unique_name("dlfast_job"))
    callback.linkage = "internal"
    callback.attributes.add("noinline")  # one copy of the job's code for the serial loop and the pool
    body = ir.IRBuilder(callback.append_basic_block())
    packed = body.load(body.bitcast(callback.args[0], packed_type.as_pointer()))
    unpacked = cgutils.unpack_tuple(body, packed)
    context.call_internal_no_propagate(body, fndesc, signature, [*callback.args[1:], *unpacked])
    body.ret_void()
    return callback


def _raise_memory_error(context, builder):
    context.call_conv.return_user_exc(builder, MemoryError, ("no memory for the buffers of a kernel",))


# Slots of `scratch`: a caller and the helpers it calls use different ones.
PRODUCT, JOB, TILE, TAIL = range(4)


@intrinsic
def scratch(typing, like, slot, shape):
    """An array (dtype of `like`, undefined contents) in memory that the calling thread keeps from call to call.

    Asking for the same slot again may hand out the same memory: small buffers of one job, nothing that outlives it.
    Raises MemoryError where there is none.
    """
    array = types.Array(like.dtype, len(shape), "C")

    def codegen(context, builder, signature, values):
        sizes = cgutils.unpack_tuple(builder, values[2])
        word, item = sizes[0].type, context.get_abi_sizeof(context.get_data_type(like.dtype))
        strides = [ir.Constant(word, item)]
        for size in reversed(sizes):
            strides.insert(0, builder.mul(strides[0], size))
        kind = ir.FunctionType(ir.IntType(8).as_pointer(), [ir.IntType(32), word])
        take = cgutils.get_or_insert_function(builder.module, kind, "dlfast_scratch")
        memory = builder.call(take, [builder.trunc(values[1], ir.IntType(32)), strides[0]])
        with builder.if_then(cgutils.is_null(builder, memory), likely=False):
            _raise_memory_error(context, builder)
        result = context.make_array(array)(context, builder)
        data = builder.bitcast(memory, context.get_data_type(like.dtype).as_pointer())
        populate_array(result, data, sizes, strides[1:], strides[-1], None)
        return result._getvalue()

    return array(like, types.intp, shape), codegen
