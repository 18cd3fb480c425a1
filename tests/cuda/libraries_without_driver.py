"""Run by itself, on a machine without a GPU: what cuBLASLt and cuDNN, as they are installed, say to what we ask.

A library of empty functions stands in for the driver (`driver_of_nothing`). cuBLASLt then makes descriptors, which are
read back; cuDNN, told the properties of an H100, plans graphs for it. Ends with 77 where the library is not installed.
"""

import json
import sys

import numpy as np

# What cuDNN and its frontend look up in the driver; a plan is made without calling them.
SYMBOLS = [
    "cuModuleLoadData", "cuTensorMapEncodeIm2col", "cuTensorMapEncodeTiled", "cuGetErrorString", "cuModuleUnload",
    "cuModuleGetFunction", "cuGetErrorName", "cuCtxGetCurrent", "cuCtxGetLimit", "cuCtxPopCurrent",
    "cuCtxPushCurrent", "cuStreamGetCtx", "cuLinkCreate", "cuLinkAddData", "cuLinkComplete", "cuLinkDestroy",
    "cuLaunchKernel", "cuLaunchCooperativeKernel", "cuDeviceGet", "cuLibraryLoadData", "cuLibraryLoadFromFile",
    "cuLibraryGetKernel", "cuLibraryUnload", "cuKernelSetAttribute", "cuKernelGetAttribute",
    "cuKernelGetFunction", "cuOccupancyMaxPotentialClusterSize", "cuLaunchKernelEx",
]  # fmt: skip
H100 = {
    "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "cudaDeviceId": 0, "deviceVer": 900,
    "driverVer": 13000, "isTccDriver": 0, "l2CacheSize": 52428800, "maxCtasPerSM": 32, "maxRegistersPerSM": 65536,
    "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448, "maxThreadsPerBlock": 1024,
    "maxThreadsPerSM": 2048, "memClockRateKHz": 2619000, "memoryBusWidth": 5120, "multiProcessorCount": 132,
    "oversizedSharedMemoryPerBlock": 0, "pciDeviceId": 9008, "regsPerBlock": 65536,
    "reservedSharedMemoryPerBlock": 1024, "smClockRateKHz": 1980000, "supportCoopLaunch": 1,
    "totalGlobalMem": 85899345920, "warpSize": 32,
    "maxSharedMemoryPerSM": 233472, "smCountOrigin": 0, "deviceName": "NVIDIA H100 80GB HBM3",
}  # fmt: skip


def driver_of_nothing():
    """The source of the library."""
    version = "int cuDriverGetVersion(int *v) { *v = 13000; return 0; }\n"
    none = "int cuInit(unsigned f) { return 100; }\nint cuDeviceGetCount(int *n) { *n = 0; return 100; }\n"
    return version + none + "".join(f"int {name}(void) {{ return 0; }}\n" for name in SYMBOLS)


def missing(what):
    print(what)
    raise SystemExit(77)


def descriptors():
    """Each attribute of a product's descriptor and layouts, as cuBLASLt gives it back."""
    from dlfast.kernels.cuda import cublas
    from dlfast.kernels.cuda.cublas_problem import describe

    found = cublas.bindings()
    lt = found.lt
    try:
        lt.get_version()
    except Exception as error:
        missing(f"cuBLAS is not installed: {error}")
    for dtype in cublas.DATA_TYPES:
        for epilogue in lt.Epilogue.__members__:
            for batch in (1, 3):
                problem = describe(dtype, True, 33, 17, 40, (40, 1, 33 * 40), (1, 40, 40 * 17), batch, epilogue)
                plan = cublas._Plan(found, problem)
                plan.point(0x1000, 0x2000)
                described = _read(lt.matmul_desc_get_attribute, lt.get_matmul_desc_attribute_dtype,
                                  lt.MatmulDescAttribute, plan.descriptor)  # fmt: skip
                assert described("EPILOGUE") == lt.Epilogue[epilogue]
                assert described("COMPUTE_TYPE") == found.compute_types[problem.compute]
                assert (described("TRANSA"), described("TRANSB")) == (problem.transpose_a, problem.transpose_b)
                assert described("EPILOGUE_AUX_LD") == (problem.aux.ld if problem.aux else 0)
                for layout, wanted in zip(plan.layouts, (problem.a, problem.b, problem.d)):
                    has = _read(lt.matrix_layout_get_attribute, lt.get_matrix_layout_attribute_dtype,
                                lt.MatrixLayoutAttribute, layout)  # fmt: skip
                    assert (has("ROWS"), has("COLS"), has("LD"), has("BATCH_COUNT")) == (*wanted[:3], batch)
                    assert has("STRIDED_BATCH_OFFSET") == (wanted.step if batch > 1 else 0)


def _read(function, dtype_of, attributes, handle):
    def read(name):
        value, written = np.zeros(1, dtype_of(attributes[name])), np.zeros(1, np.uint64)
        function(handle, attributes[name], value.ctypes.data, value.nbytes, written.ctypes.data)
        return int(value[0])

    return read


class ForH100:
    """The module cudnn, whose graphs are planned for an H100 that is not there."""

    def __init__(self, cudnn):
        self._cudnn, self._properties = cudnn, cudnn.create_device_properties(json.dumps(H100))

    def __getattr__(self, name):
        return getattr(self._cudnn, name)

    def create_handle(self):
        return None

    def pygraph(self, handle, **options):
        return self._cudnn.pygraph(device_property=self._properties, sm_version=90, sm_count=132, **options)


def plans():
    """cuDNN has a plan for each graph that we describe."""
    import cudnn
    from test_cuda_cudnn import problems

    from dlfast.kernels.cuda.cudnn import Cudnn
    from dlfast.kernels.cuda.device import host_device

    try:
        cudnn.backend_version()
    except RuntimeError as error:
        missing(f"cuDNN is not installed: {error}")
    made = Cudnn(host_device(), ForH100(cudnn))
    for problem in problems():
        graph = made._planned(problem)
        assert graph is not None, problem
        assert graph.get_workspace_size() >= 0


if __name__ == "__main__":
    {"descriptors": descriptors, "plans": plans}[sys.argv[1]]()
