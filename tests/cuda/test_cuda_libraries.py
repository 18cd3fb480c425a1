"""What is asked of cuBLASLt: its descriptions carried out as the manual says, against NumPy; and the calls."""

import enum
import inspect

import numpy as np
import pytest
from cublas_double import (
    DESCRIPTOR,
    EPILOGUES,
    LAYOUT,
    PREFERENCE,
    RESULT,
    ComputeType,
    CublasLt,
    DataType,
)
from ondevice import down, up
from test_cuda_kernels import agrees

import dlfast as dl
from cases import CASES
from dlfast import kernels
from dlfast.kernels.cuda import cublas, device, libraries
from dlfast.kernels.cuda.cublas_problem import describe
from dlfast.kernels.cuda.gemm import Matrix, gemm, matrix
from dlfast.kernels.cuda.tf32 import allow_tf32, tf32_is_allowed

HOST = device.host_device()


@pytest.fixture(autouse=True)
def _on_the_host():
    """The double computes in the host's memory, on machines with a GPU too."""
    with dl.cuda.host():
        yield


def library(refuses=()):
    double = CublasLt(refuses)
    return double, cublas.Cublas(HOST, double.bindings())


@pytest.fixture
def with_cublas(monkeypatch):
    """The host with a cuBLASLt of its own."""
    double, made = library()
    monkeypatch.setattr(device.Host, "cublas", made)
    return double


def numbers(*shape, dtype="float32", seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def test_what_cublas_has_no_word_for():
    assert describe("float32", False, 4, 4, 0, (1, 1, 0), (4, 1, 0)) is None
    assert describe("float32", False, 4, 4, 4, (8, 2, 0), (4, 1, 0)) is None  # every second column
    assert describe("float32", False, 4, 4, 4, (0, 1, 0), (4, 1, 0)) is None  # one row for all
    assert describe("float32", False, 2**31, 4, 4, (4, 1, 0), (4, 1, 0)) is None
    assert describe("float32", False, 4, 4, 4, (4, 1, 0), (4, 1, 0)).compute == "COMPUTE_32F"
    assert describe("float32", True, 4, 4, 4, (4, 1, 0), (4, 1, 0)).compute == "COMPUTE_32F_FAST_TF32"
    assert describe("float64", True, 4, 4, 4, (4, 1, 0), (4, 1, 0)).compute == "COMPUTE_64F"
    assert describe("bfloat16", True, 4, 4, 4, (4, 1, 0), (4, 1, 0)).compute == "COMPUTE_32F"


MULTIPLYING = [case for case in CASES if case.op in ("linear", "matmul", "rnn", "lstm_cell")]


@pytest.mark.parametrize("case", MULTIPLYING, ids=str)
def test_operations_by_cublas_agree_with_the_reference(case, with_cublas):
    agrees(case, "float32")


@pytest.mark.parametrize("activation", [None, "relu", "sigmoid", "tanh"])
def test_linear_asks_for_what_can_be_fused(activation, with_cublas):
    x, weight, bias, dy = numbers(20, 12), numbers(8, 12), numbers(8), numbers(20, 8)
    forward, backward = kernels.pair("linear", "cuda")
    reference, reference_back = kernels.pair("linear", "reference")
    y, saved = forward(up(x), up(weight), up(bias), activation=activation)
    wanted, wanted_saved = reference(x, weight, bias, activation=activation)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-6)
    first = {None: "BIAS", "relu": "RELU_BIAS"}.get(activation, "DEFAULT")
    assert with_cublas.problems() == [(first, "COMPUTE_32F")]
    got = backward(up(dy), saved, (True, True, True))
    for mine, theirs in zip(got, reference_back(dy, wanted_saved, (True, True, True)), strict=True):
        np.testing.assert_allclose(down(mine), theirs, rtol=1e-4, atol=1e-5)
    last = "DEFAULT" if activation else "BGRADB"  # an activation's own pass has added them up
    assert [name for name, _ in with_cublas.problems()[1:]] == ["DEFAULT", last]


@pytest.mark.parametrize("refuses", [{"RELU_BIAS", "BGRADB"}, set(EPILOGUES)], ids=["epilogues", "everything"])
def test_what_cublas_refuses_is_done_by_our_kernels(refuses, monkeypatch):
    double, made = library(refuses)
    monkeypatch.setattr(device.Host, "cublas", made)
    x, weight, bias, dy = numbers(20, 12), numbers(8, 12), numbers(8), numbers(20, 8)
    for activation in ("relu", None):
        forward, backward = kernels.pair("linear", "cuda")
        reference, reference_back = kernels.pair("linear", "reference")
        y, saved = forward(up(x), up(weight), up(bias), activation=activation)
        wanted, wanted_saved = reference(x, weight, bias, activation=activation)
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-6)
        got = backward(up(dy), saved, (True, True, True))
        for mine, theirs in zip(got, reference_back(dy, wanted_saved, (True, True, True)), strict=True):
            np.testing.assert_allclose(down(mine), theirs, rtol=1e-4, atol=1e-5)
    assert ("RELU_BIAS" not in refuses) == any(name == "RELU_BIAS" for name, _ in double.problems())


def test_an_error_of_cublas_is_raised():
    double, made = library()
    double.matmul_algo_get_heuristic = lambda *arguments: (_ for _ in ()).throw(double.cuBLASLtError(14))
    with pytest.raises(double.cuBLASLtError, match="14"):
        made.product(matrix(up(numbers(4, 4))), matrix(up(numbers(4, 4))), HOST.empty((4, 4), np.float32), 4, 4, 4)


def test_a_product_again_is_one_call():
    double, made = library()
    a, b, bias = up(numbers(8, 8)), up(numbers(8, 8)), up(numbers(8))
    for _ in range(2):
        before = len(double.calls)
        options = {"epilogue": "BIAS", "vector": bias}
        made.product(matrix(a), matrix(b), HOST.empty((8, 8), np.float32), 8, 8, 8, **options)
    assert [call[0] for call in double.calls[before:]] == ["matmul"]
    with allow_tf32():
        made.product(matrix(a), matrix(b), HOST.empty((8, 8), np.float32), 8, 8, 8, **options)
    assert double.problems()[-1] == ("BIAS", "COMPUTE_32F_FAST_TF32")


def test_another_alignment_is_another_plan():
    double, made = library()
    wide, b = up(numbers(6, 5)), up(numbers(4, 4))
    for first in (0, 1, 2):
        a = wide.rows(first, first + 4)
        c = HOST.empty((4, 4), np.float32)
        assert made.product(Matrix(a, 5, 1), matrix(b), c, 4, 4, 4)
        np.testing.assert_allclose(c.numpy(), a.numpy()[:, :4] @ b.numpy(), rtol=1e-5, atol=1e-6)
    assert sum(call[0] == "heuristic" for call in double.calls) == 3  # rows 0, 20 and 40 bytes from 16


def test_old_plans_are_dropped_and_their_descriptors_destroyed(monkeypatch):
    monkeypatch.setattr(cublas, "MOST_PLANS", 3)
    double, made = library()
    for n in range(1, 9):
        made.product(matrix(up(numbers(2, 2))), matrix(up(numbers(2, n))), HOST.empty((2, n), np.float32), 2, n, 2)
    assert len(double.objects) == 1 + 3 * 4  # the handle; a descriptor and three layouts each


def test_workspace_is_of_the_size_that_the_algorithm_wants():
    double = CublasLt(workspace=1 << 16)
    made = cublas.Cublas(HOST, double.bindings())
    for _ in range(2):
        c = HOST.empty((4, 4), np.float32)
        assert made.product(matrix(up(numbers(4, 4))), matrix(up(numbers(4, 4))), c, 4, 4, 4)
    assert all(call[3] for call in double.calls if call[0] == "matmul")


def test_nothing_is_given_to_a_device_that_wants_none(monkeypatch):
    """A replay of a captured graph runs Python for its numbers alone."""
    double, made = library()
    monkeypatch.setattr(device.Host, "for_library", lambda self, *arrays: None)
    assert made.product(matrix(up(numbers(4, 4))), matrix(up(numbers(4, 4))), HOST.empty((4, 4)), 4, 4, 4)
    assert double.problems() == []


def test_gemm_without_a_library_is_our_tiles():
    a, b = numbers(9, 4), numbers(4, 5)
    c = gemm(matrix(up(a)), matrix(up(b)), HOST.empty((9, 5), np.float32), 9, 5, 4)
    np.testing.assert_allclose(c.numpy(), a @ b, rtol=1e-5, atol=1e-6)


def test_allow_tf32_is_a_switch_and_a_context():
    assert not tf32_is_allowed()
    with allow_tf32():
        assert tf32_is_allowed()
        with allow_tf32(False):
            assert not tf32_is_allowed()
        assert tf32_is_allowed()
    assert not tf32_is_allowed()
    allow_tf32(True)
    assert tf32_is_allowed()
    allow_tf32(False)
    assert not tf32_is_allowed()
    with pytest.raises(TypeError, match="expected True or False, got 1"):
        allow_tf32(1)


def test_the_double_has_the_names_and_signatures_of_nvmath():
    lt = pytest.importorskip("nvmath.bindings.cublasLt", reason="nvmath-python is not installed")
    found = cublas.bindings()
    for mine, theirs in ((ComputeType, found.compute_types), (DataType, found.data_types)):
        assert all(theirs[member.name] == member for member in mine)
    for name, table in (("MatmulDescAttribute", DESCRIPTOR), ("MatrixLayoutAttribute", LAYOUT),
                        ("MatmulPreferenceAttribute", PREFERENCE)):  # fmt: skip
        dtype_of = {"MatmulDescAttribute": lt.get_matmul_desc_attribute_dtype,
                    "MatrixLayoutAttribute": lt.get_matrix_layout_attribute_dtype,
                    "MatmulPreferenceAttribute": lt.get_matmul_preference_attribute_dtype}[name]  # fmt: skip
        for key, (number, dtype) in table.items():
            member = getattr(lt, name)[key]
            assert (member, dtype_of(member)) == (number, dtype), key
    assert {key: lt.Epilogue[key] for key in EPILOGUES} == EPILOGUES
    functions = [name for name, value in vars(CublasLt).items() if inspect.isfunction(value)]
    shared = [name for name in functions if not name.startswith("_") and name not in ("bindings", "problems")]
    assert len(shared) > 12
    for name in shared:
        theirs = list(inspect.signature(getattr(lt, name)).parameters)
        assert list(inspect.signature(getattr(CublasLt, name)).parameters)[1:] == theirs, name
    assert issubclass(lt.cuBLASLtError, Exception)
    assert isinstance(lt.Epilogue.BIAS, enum.IntEnum)
    result = lt.MatmulHeuristicResult(1)
    assert {"ptr", "state", "workspace_size"} <= set(dir(result))
    assert [lt.matmul_heuristic_result_dtype.fields[name][1] for name in ("algo", "workspace_size", "state")] == [
        RESULT.fields[name][1] for name in ("algo", "workspace_size", "state")
    ]


def test_what_is_lacking_is_said(monkeypatch):
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    libraries.lacking_cublas.cache_clear()
    assert libraries.lacking_cublas() == "nvmath-python is not installed"
    assert libraries.Libraries().cublas is None
    libraries.lacking_cublas.cache_clear()


def test_a_library_that_does_not_load_is_said(monkeypatch):
    monkeypatch.setattr(libraries, "find_spec", lambda name: name)
    monkeypatch.setattr(libraries, "import_module", lambda name: CublasLt())  # has no get_version
    libraries.lacking_cublas.cache_clear()
    assert libraries.lacking_cublas().startswith("cuBLASLt does not load: ")
    libraries.lacking_cublas.cache_clear()
