"""A stand-in for nvmath-python's bindings of cuBLASLt that computes with NumPy what cuBLASLt would, in host memory.

Written from the manual of cuBLAS, without a look at how `kernels/cuda/cublas.py` asks: matrices lie column behind
column, a bias has a number for each row of D, bits of ReLU lie in columns a multiple of 128 apart. It refuses what
cuBLASLt would refuse, and remembers the calls.
"""

import ctypes
import enum

import numpy as np

from dlfast.kernels.cuda.cublas import Bindings

ComputeType = enum.IntEnum("ComputeType", {"COMPUTE_32F": 68, "COMPUTE_32F_FAST_TF32": 77, "COMPUTE_64F": 70})
DataType = enum.IntEnum("DataType", {"CUDA_R_16F": 2, "CUDA_R_16BF": 14, "CUDA_R_32F": 0, "CUDA_R_64F": 1})
DTYPES = {2: np.dtype(np.float16), 0: np.dtype(np.float32), 1: np.dtype(np.float64)}
DESCRIPTOR = {"TRANSA": (3, np.int32), "TRANSB": (4, np.int32), "EPILOGUE": (7, np.uint32),
              "BIAS_POINTER": (8, np.int64),
              "EPILOGUE_AUX_POINTER": (11, np.int64), "EPILOGUE_AUX_LD": (12, np.int64),
              "EPILOGUE_AUX_BATCH_STRIDE": (13, np.int64)}  # fmt: skip
LAYOUT = {"BATCH_COUNT": (5, np.int32), "STRIDED_BATCH_OFFSET": (6, np.int64)}
PREFERENCE = {"MAX_WORKSPACE_BYTES": (1, np.uint64), "MIN_ALIGNMENT_A_BYTES": (5, np.uint32),
              "MIN_ALIGNMENT_B_BYTES": (6, np.uint32), "MIN_ALIGNMENT_C_BYTES": (7, np.uint32),
              "MIN_ALIGNMENT_D_BYTES": (8, np.uint32)}  # fmt: skip
EPILOGUES = {"DEFAULT": 1, "RELU": 2, "RELU_AUX": 130, "BIAS": 4, "RELU_BIAS": 6, "RELU_AUX_BIAS": 134, "DRELU": 136,
             "DRELU_BGRAD": 152, "GELU": 32, "GELU_AUX": 160, "GELU_BIAS": 36, "GELU_AUX_BIAS": 164, "DGELU": 192,
             "DGELU_BGRAD": 208, "BGRADA": 256, "BGRADB": 512}  # fmt: skip
RESULT = np.dtype([("algo", "<u8", (8,)), ("workspace_size", "<u8"), ("state", "<i4"), ("waves_count", "<f4"),
                   ("reserved", "<i4", (4,))])  # fmt: skip
INVALID_VALUE, NOT_SUPPORTED = 7, 15


def _enumeration(name, table):
    return enum.IntEnum(name, {key: number for key, (number, _) in table.items()})


def _memory(pointer, layout, dtype, batch=1):
    """(batch, rows, columns) at an address; layout: (rows, columns, ld, step)."""
    rows, columns, ld, step = layout
    count = (batch - 1) * abs(step) + (columns - 1) * ld + rows
    held = (ctypes.c_char * (count * dtype.itemsize)).from_address(pointer)
    strides = step * dtype.itemsize, dtype.itemsize, ld * dtype.itemsize
    return np.ndarray((batch, rows, columns), dtype, held, strides=strides)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_slope(x):
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)


class CublasLt:
    """refuses: epilogues that the heuristics have no algorithm for."""

    MatmulDescAttribute = _enumeration("MatmulDescAttribute", DESCRIPTOR)
    MatrixLayoutAttribute = _enumeration("MatrixLayoutAttribute", LAYOUT)
    MatmulPreferenceAttribute = _enumeration("MatmulPreferenceAttribute", PREFERENCE)
    Epilogue = enum.IntEnum("Epilogue", EPILOGUES)

    class cuBLASLtError(Exception):
        def __init__(self, status):
            self.status = status
            super().__init__(f"cuBLASLt status {status}")

    class MatmulHeuristicResult:
        def __init__(self, size=1):
            self._held = np.full(size * RESULT.itemsize, 0x55, np.uint8).view(RESULT)  # as malloc leaves it
            self.ptr = self._held.ctypes.data

        @property
        def state(self):
            return int(self._held["state"][0])

        @property
        def workspace_size(self):
            return int(self._held["workspace_size"][0])

    def __init__(self, refuses=(), workspace=0):
        self.refuses, self.workspace = set(refuses), workspace
        self.calls, self.objects, self._next = [], {}, 1000

    def bindings(self):
        return Bindings(self, ComputeType, DataType)

    def problems(self):
        """(epilogue, compute type) of each product that ran."""
        return [(call[1], call[2]) for call in self.calls if call[0] == "matmul"]

    def _make(self, value):
        self._next += 1
        self.objects[self._next] = value
        self.calls.append(("create",))
        return self._next

    def _need(self, condition):
        if not condition:
            raise self.cuBLASLtError(INVALID_VALUE)

    def create(self):
        return self._make("handle")

    def matmul_desc_create(self, compute_type, scale_type):
        self._need((compute_type == 70) == (scale_type == 1))
        return self._make({"compute": int(compute_type), "TRANSA": 0, "TRANSB": 0, "EPILOGUE": 1, "BIAS_POINTER": 0})

    def matrix_layout_create(self, type, rows, cols, ld):
        self._need(rows > 0 and cols > 0 and ld >= rows)
        return self._make({"type": int(type), "rows": rows, "cols": cols, "ld": ld, "BATCH_COUNT": 1,
                           "STRIDED_BATCH_OFFSET": 0})  # fmt: skip

    def matmul_preference_create(self):
        return self._make({})

    def _destroy(self, handle):
        del self.objects[handle]

    def matmul_desc_destroy(self, matmul_desc):
        self._destroy(matmul_desc)

    def matrix_layout_destroy(self, mat_layout):
        self._destroy(mat_layout)

    def matmul_preference_destroy(self, pref):
        self._destroy(pref)

    def get_matmul_desc_attribute_dtype(self, attr):
        return DESCRIPTOR[attr.name][1]

    def get_matrix_layout_attribute_dtype(self, attr):
        return LAYOUT[attr.name][1]

    def get_matmul_preference_attribute_dtype(self, attr):
        return PREFERENCE[attr.name][1]

    def _set(self, handle, attr, table, buf, size_in_bytes):
        dtype = np.dtype(table[attr.name][1])
        self._need(size_in_bytes == dtype.itemsize)
        held = (ctypes.c_char * size_in_bytes).from_address(buf)
        self.objects[handle][attr.name] = int(np.frombuffer(held, dtype)[0])

    def matmul_desc_set_attribute(self, matmul_desc, attr, buf, size_in_bytes):
        self._set(matmul_desc, attr, DESCRIPTOR, buf, size_in_bytes)

    def matrix_layout_set_attribute(self, mat_layout, attr, buf, size_in_bytes):
        self._set(mat_layout, attr, LAYOUT, buf, size_in_bytes)

    def matmul_preference_set_attribute(self, pref, attr, buf, size_in_bytes):
        self._set(pref, attr, PREFERENCE, buf, size_in_bytes)

    def matmul_algo_get_heuristic(
        self, light_handle, operation_desc, adesc, bdesc, cdesc, ddesc, preference, requested_algo_count,
        heuristic_results_array, return_algo_count,
    ):  # fmt: skip
        assert self.objects[light_handle] == "handle"
        descriptor, wanted = self.objects[operation_desc], self.objects[preference]
        name = self.Epilogue(descriptor["EPILOGUE"]).name
        self._need(descriptor["BIAS_POINTER"] or not ("BIAS" in name or "BGRAD" in name))
        if name in self.refuses:
            raise self.cuBLASLtError(NOT_SUPPORTED)
        ctypes.c_int32.from_address(return_algo_count).value = 1
        held = np.frombuffer((ctypes.c_char * RESULT.itemsize).from_address(heuristic_results_array), RESULT)
        held["algo"][0, :4] = [wanted[f"MIN_ALIGNMENT_{x}_BYTES"] for x in "ABCD"]
        held["workspace_size"], held["state"] = self.workspace, 0
        self.calls.append(("heuristic", name, wanted["MAX_WORKSPACE_BYTES"]))

    def matmul(
        self, light_handle, compute_desc, alpha, a, adesc, b, bdesc, beta, c, cdesc, d, ddesc, algo, workspace,
        workspace_size_in_bytes, stream,
    ):  # fmt: skip
        descriptor, first, second, out = (self.objects[x] for x in (compute_desc, adesc, bdesc, ddesc))
        name = self.Epilogue(descriptor["EPILOGUE"]).name
        self.calls.append(("matmul", name, ComputeType(descriptor["compute"]).name, workspace, stream))
        aligned = np.frombuffer((ctypes.c_char * 32).from_address(algo), np.int64)
        self._need(all(pointer % at == 0 for pointer, at in zip((a, b, c, d), aligned)))
        self._need(workspace_size_in_bytes >= self.workspace and (workspace or not self.workspace))
        dtype = DTYPES[out["type"]]
        scale = _memory(alpha, (1, 1, 1, 0), np.dtype(np.float64 if out["type"] == 1 else np.float32)).ravel()
        assert scale[0] == 1
        assert (c, cdesc) == (d, ddesc)
        left = self._matrices(a, first, descriptor["TRANSA"])
        right = self._matrices(b, second, descriptor["TRANSB"])
        batch = out["BATCH_COUNT"]
        self._need(batch == first["BATCH_COUNT"] == second["BATCH_COUNT"] and first["type"] == out["type"])
        self._need(left.shape[1:] == (out["rows"], right.shape[1]) and right.shape[2] == out["cols"])
        with np.errstate(all="ignore"):
            sums = np.matmul(left, right)
        layout = out["rows"], out["cols"], out["ld"], out["STRIDED_BATCH_OFFSET"]
        target = _memory(d, layout, dtype, batch)
        target[...] = self._epilogue(name, descriptor, sums, left, right, dtype)

    def _matrices(self, pointer, held, transposed):
        layout = held["rows"], held["cols"], held["ld"], held["STRIDED_BATCH_OFFSET"]
        values = _memory(pointer, layout, DTYPES[held["type"]], held["BATCH_COUNT"]).astype(np.float64)
        return values.transpose(0, 2, 1) if transposed else values

    def _epilogue(self, name, descriptor, sums, left, right, dtype):
        rows, columns = sums.shape[1:]
        vector = descriptor["BIAS_POINTER"]
        if name.endswith("BIAS"):
            sums = sums + _memory(vector, (rows, 1, rows, 0), dtype)[0]
        if name == "BGRADA":
            _memory(vector, (rows, 1, rows, 0), dtype)[0, :, 0] = left[0].sum(axis=1)
        if name == "BGRADB":
            _memory(vector, (columns, 1, columns, 0), dtype)[0, :, 0] = right[0].sum(axis=0)
        if "RELU" in name:
            sums = self._relu(name, descriptor, sums)
        if "GELU" in name:
            sums = self._gelu(name, descriptor, sums, dtype)
        if name.endswith("_BGRAD"):
            _memory(vector, (rows, 1, rows, 0), dtype)[0, :, 0] = sums[0].sum(axis=1)
        return sums

    def _relu(self, name, descriptor, sums):
        _, rows, columns = sums.shape
        if "AUX" not in name and not name.startswith("D"):
            return np.maximum(sums, 0)
        ld = descriptor["EPILOGUE_AUX_LD"]
        self._need(ld % 128 == 0 and ld >= rows)
        held = _memory(descriptor["EPILOGUE_AUX_POINTER"], (ld // 8, columns, ld // 8, 0), np.dtype(np.uint8))[0]
        if name.startswith("D"):
            return sums * np.unpackbits(held, axis=0, bitorder="little")[:rows]
        bits = np.zeros((ld, columns), np.uint8)
        bits[:rows] = sums[0] > 0
        held[...] = np.packbits(bits, axis=0, bitorder="little")
        return np.maximum(sums, 0)

    def _gelu(self, name, descriptor, sums, dtype):
        _, rows, columns = sums.shape
        if "AUX" not in name and not name.startswith("D"):
            return gelu(sums)
        ld = descriptor["EPILOGUE_AUX_LD"]
        self._need(ld % 8 == 0 and ld >= rows)
        held = _memory(descriptor["EPILOGUE_AUX_POINTER"], (rows, columns, ld, 0), dtype)[0]
        if name.startswith("D"):
            return sums * gelu_slope(held.astype(np.float64))
        held[...] = sums[0]
        return gelu(sums)
