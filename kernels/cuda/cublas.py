"""Matrix products by cuBLASLt, through nvmath-python's bindings; `cublas_problem.py` says what is asked of it.

What cuBLASLt makes of a problem, its descriptors and the algorithm that its heuristics put first, is kept by the
problem, so that a product again is one call. Workspace comes from the device's memory.
"""

from __future__ import annotations

import weakref
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .cublas_problem import ALIGNED, Layout, Problem, alignment, describe
from .tf32 import tf32_is_allowed

if TYPE_CHECKING:
    from .device import Array
    from .gemm import Matrix

WORKSPACE = 32 << 20  # bytes at most; what NVIDIA recommends for Hopper
SPARE = 256  # bytes behind it: an epilogue may write past what was asked for (nvmath-python allots more, too)
MOST_PLANS = 4096  # kept; the oldest goes first
DATA_TYPES = {"float16": "CUDA_R_16F", "bfloat16": "CUDA_R_16BF", "float32": "CUDA_R_32F", "float64": "CUDA_R_64F"}
_ALIGNED = (ALIGNED,) * 5  # of A, B, C, the vector and AUX
_NOT_SUPPORTED = 15  # CUBLAS_STATUS_NOT_SUPPORTED: the heuristics have no algorithm


class Bindings(NamedTuple):
    """What is used of nvmath-python: the functions of cuBLASLt, and two enumerations."""

    lt: Any
    compute_types: Any
    data_types: Any


def bindings() -> Bindings:
    """nvmath-python's. Raises ImportError where it is not installed."""
    lt = import_module("nvmath.bindings.cublasLt")  # 0.5 s
    return Bindings(lt, import_module("nvmath.bindings.cublas").ComputeType, import_module("nvmath").CudaDataType)


class Cublas:
    """cuBLASLt on a device, whose context is current where this is made. found: the bindings, or a test's."""

    def __init__(self, device: Any, found: Bindings | None = None):
        self._device, self._found = weakref.ref(device), found or bindings()
        self._lt = self._found.lt
        self._handle = self._lt.create()
        self._plans: dict[tuple, _Plan | None] = {}
        self._lock = Lock()  # a plan's pointers are set and used in two calls

    def product(
        self, a: Matrix, b: Matrix, c: Array, m: int, n: int, k: int, *, batch: int = 1, epilogue: str = "DEFAULT",
        vector: Array | None = None, aux: Array | None = None,
    ) -> bool:  # fmt: skip
        """Write c (batch, m, n) = epilogue(a (batch, m, k) b (batch, k, n)); False, and nothing done, where it cannot.

        vector: the bias (n,) to read or the sums to write; aux: AUX, of `cublas_problem.aux_shape`.
        """
        pointers = a.array.pointer, b.array.pointer, c.pointer
        more = 0 if vector is None else vector.pointer, 0 if aux is None else aux.pointer
        odd = (pointers[0] | pointers[1] | pointers[2] | more[0] | more[1]) % ALIGNED
        alignments = tuple(map(alignment, pointers + more)) if odd else _ALIGNED
        key = c.dtype, tf32_is_allowed(), m, n, k, a[1:], b[1:], batch, epilogue, alignments
        with self._lock:
            plan = self._plans[key] if key in self._plans else self._planned(key)
            if plan is None:
                return False
            others = tuple(x for x in (vector, aux) if x is not None)
            stream = self._device().for_library(a.array, b.array, c, *others)
            if stream is not None:
                plan.point(*more)
                self._run(plan, pointers, stream)
        return True

    def _planned(self, key: tuple) -> _Plan | None:
        dtype, *rest, alignments = key
        problem = describe(str(dtype), *rest)
        while len(self._plans) >= MOST_PLANS:
            del self._plans[next(iter(self._plans))]
        plan = None if problem is None else _Plan(self._found, problem)
        if plan is not None and not plan.find(self._handle, alignments):
            plan = None
        self._plans[key] = plan
        return plan

    def _run(self, plan: _Plan, pointers: tuple, stream: int) -> None:
        a, b, d = pointers
        workspace = self._device().empty((plan.workspace + SPARE,), np.uint8) if plan.workspace else None
        at = 0 if workspace is None else workspace.pointer
        first, second, out = plan.layouts
        self._lt.matmul(self._handle, plan.descriptor, plan.one, b, first, a, second, plan.zero, d, out, d, out,
                        plan.algorithm, at, plan.workspace, stream)  # fmt: skip


class _Plan:
    """Descriptors of a problem, and the algorithm for it; numbers are handed over by their address."""

    def __init__(self, found: Bindings, problem: Problem):
        self._found, self._lt = found, found.lt
        self._attributes = found.lt.MatmulDescAttribute
        self._number = found.data_types[DATA_TYPES[problem.dtype]]
        scale = np.float64 if problem.dtype == "float64" else np.float32
        self._scales = np.array([1, 0], scale)
        self.one, self.zero = self._scales.ctypes.data, self._scales[1:].ctypes.data
        self.descriptor = self._described(problem)
        self.layouts = tuple(self._layout(each, problem.batch) for each in (problem.a, problem.b, problem.d))
        self._pointer = np.zeros(1, np.int64)
        self._reads_vector = problem.epilogue.endswith("BIAS") or "BGRAD" in problem.epilogue
        self._reads_aux = problem.aux is not None
        weakref.finalize(self, _destroy, self._lt, self.descriptor, self.layouts).atexit = False
        self.algorithm = self.workspace = 0

    def _described(self, problem: Problem) -> int:
        compute = self._found.compute_types[problem.compute]
        scale = "CUDA_R_64F" if problem.dtype == "float64" else "CUDA_R_32F"
        descriptor = self._lt.matmul_desc_create(compute, self._found.data_types[scale])
        attributes = {"TRANSA": problem.transpose_a, "TRANSB": problem.transpose_b,
                      "EPILOGUE": self._lt.Epilogue[problem.epilogue]}  # fmt: skip
        if problem.aux is not None:
            attributes |= {"EPILOGUE_AUX_LD": problem.aux.ld, "EPILOGUE_AUX_BATCH_STRIDE": problem.aux.step}
        for name, value in attributes.items():
            self._set(descriptor, name, value)
        return descriptor

    def _set(self, descriptor: int, name: str, value: int) -> None:
        attribute = self._attributes[name]
        held = np.array([value], self._lt.get_matmul_desc_attribute_dtype(attribute))
        self._lt.matmul_desc_set_attribute(descriptor, attribute, held.ctypes.data, held.nbytes)

    def _layout(self, layout: Layout, batch: int) -> int:
        made = self._lt.matrix_layout_create(self._number, layout.rows, layout.columns, layout.ld)
        if batch > 1:
            for name, value in (("BATCH_COUNT", batch), ("STRIDED_BATCH_OFFSET", layout.step)):
                attribute = self._lt.MatrixLayoutAttribute[name]
                held = np.array([value], self._lt.get_matrix_layout_attribute_dtype(attribute))
                self._lt.matrix_layout_set_attribute(made, attribute, held.ctypes.data, held.nbytes)
        return made

    def point(self, vector: int, aux: int) -> None:
        """Set the addresses that lie in the descriptor."""
        for name, value, wanted in (
            ("BIAS_POINTER", vector, self._reads_vector),
            ("EPILOGUE_AUX_POINTER", aux, self._reads_aux),
        ):
            if wanted:
                self._pointer[0] = value
                self._lt.matmul_desc_set_attribute(
                    self.descriptor, self._attributes[name], self._pointer.ctypes.data, self._pointer.nbytes
                )

    def find(self, handle: int, alignments: tuple[int, ...]) -> bool:
        """Ask the heuristics for an algorithm; whether there is one for addresses of these alignments."""
        a, b, d, vector, aux = alignments
        self.point(vector, aux)  # nothing is read there: an address stands for its alignment
        preference = self._lt.matmul_preference_create()
        try:
            wanted = {"MAX_WORKSPACE_BYTES": WORKSPACE, "MIN_ALIGNMENT_A_BYTES": b, "MIN_ALIGNMENT_B_BYTES": a,
                      "MIN_ALIGNMENT_C_BYTES": d, "MIN_ALIGNMENT_D_BYTES": d}  # fmt: skip
            for name, value in wanted.items():
                attribute = self._lt.MatmulPreferenceAttribute[name]
                held = np.array([value], self._lt.get_matmul_preference_attribute_dtype(attribute))
                self._lt.matmul_preference_set_attribute(preference, attribute, held.ctypes.data, held.nbytes)
            return self._ask(handle, preference)
        finally:
            self._lt.matmul_preference_destroy(preference)

    def _ask(self, handle: int, preference: int) -> bool:
        result, count = self._lt.MatmulHeuristicResult(1), np.zeros(1, np.int32)
        first, second, out = self.layouts
        try:
            self._lt.matmul_algo_get_heuristic(handle, self.descriptor, first, second, out, out, preference, 1,
                                               result.ptr, count.ctypes.data)  # fmt: skip
        except self._lt.cuBLASLtError as error:
            if error.status != _NOT_SUPPORTED:
                raise
            return False
        if not count[0] or int(result.state):
            return False
        self._result = result  # holds the algorithm, which its first bytes are
        self.algorithm, self.workspace = result.ptr, int(result.workspace_size)
        return True


def _destroy(lt: Any, descriptor: int, layouts: tuple) -> None:
    lt.matmul_desc_destroy(descriptor)
    for layout in layouts:
        lt.matrix_layout_destroy(layout)
