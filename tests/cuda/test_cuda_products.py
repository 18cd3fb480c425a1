"""Products that cuBLASLt is asked for, against NumPy: by the double, which does as the manual says, and by a GPU."""

import numpy as np
import pytest
from cublas_double import CublasLt, gelu, gelu_slope

import dlfast as dl
from dlfast.kernels.cuda import cublas, device
from dlfast.kernels.cuda.cublas_problem import aux_shape
from dlfast.kernels.cuda.gemm import Matrix, matrix

SIZES = [(1, 1, 1), (3, 5, 7), (16, 8, 32), (1, 9, 4), (9, 1, 4), (33, 17, 1), (130, 6, 20), (5, 200, 3)]


class Place:
    """A device and its cuBLASLt."""

    def __init__(self, device_, library, name):
        self.device, self.library, self.name, self.done = device_, library, name, 0

    def up(self, x):
        return self.device.upload(np.ascontiguousarray(x))

    def empty(self, *shape, dtype=np.float32):
        return self.device.empty(shape, dtype)

    def product(self, *arguments, **options):
        """Whether there is a product; a GPU may have none for a size and an epilogue, the double has all."""
        made = self.library.product(*arguments, **options)
        assert made or self.name == "gpu"
        self.done += made
        return made


def the_gpu():
    with dl.cuda.host(False):
        if not dl.cuda.is_available():
            pytest.skip(f"no GPU: {dl.cuda.status().reason}")
        found = dl.cuda.get_device()
        if found.cublas is None:
            pytest.skip(f"no cuBLASLt: {found.no_cublas}")
        return found


@pytest.fixture(params=["double", "gpu"])
def place(request):
    if request.param == "double":
        host = device.host_device()
        found = Place(host, cublas.Cublas(host, CublasLt().bindings()), "double")
    else:
        gpu = the_gpu()
        found = Place(gpu, gpu.cublas, "gpu")
    yield found
    if not found.done:
        pytest.skip("cuBLASLt has no algorithm for any of these sizes")


def numbers(*shape, dtype="float32", seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("transposes", [(False, False), (False, True), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_product_of_rows_is_a_product_of_columns(dtype, transposes, place):
    def operand(values, transposed):
        return matrix(place.up(values.T)).transposed if transposed else matrix(place.up(values))

    for m, n, k in [*SIZES, (257, 130, 1000)]:
        a, b = numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype, seed=1)
        c, wanted = place.empty(m, n, dtype=dtype), a.astype(float) @ b.astype(float)
        assert place.product(operand(a, transposes[0]), operand(b, transposes[1]), c, m, n, k)
        bound = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-13}[dtype] * max(1, np.abs(wanted).max())
        np.testing.assert_allclose(c.numpy(), wanted, rtol=0, atol=bound)


def test_tf32_rounds_to_ten_bits_where_it_is_allowed(place):
    a, b = numbers(64, 512), numbers(512, 64, seed=1)
    wanted = a.astype(float) @ b.astype(float)
    errors = []
    for allowed in (False, True):
        c = place.empty(64, 64)
        with dl.cuda.allow_tf32(allowed):
            assert place.product(matrix(place.up(a)), matrix(place.up(b)), c, 64, 64, 512)
        errors.append(np.abs(c.numpy() - wanted).max() / np.abs(wanted).max())
    assert errors[0] < 2e-6
    assert errors[1] < 2e-3


def test_batches_and_one_matrix_for_all_of_a_batch(place):
    for one_a, one_b in ((False, False), (True, False), (False, True)):
        a, b = numbers(1 if one_a else 4, 5, 6), numbers(1 if one_b else 4, 6, 3, seed=1)
        left, right = matrix(place.up(a)), matrix(place.up(b))
        left, right = left._replace(step=0) if one_a else left, right._replace(step=0) if one_b else right
        c = place.empty(4, 5, 3)
        assert place.product(left, right, c, 5, 3, 6, batch=4)
        np.testing.assert_allclose(c.numpy(), a @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("bias", [False, True])
def test_epilogues_forward_and_back(bias, activation, dtype, place):
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 2e-2, "atol": 2e-2}
    for m, n, k in SIZES:
        x, weight, b = numbers(m, k, dtype=dtype), numbers(n, k, dtype=dtype, seed=1), numbers(n, dtype=dtype, seed=2)
        z = x.astype(float) @ weight.T.astype(float) + (b if bias else 0)
        name = "_".join([*([activation.upper(), "AUX"] if activation else []), *["BIAS"] * bias]) or "DEFAULT"
        y, aux = place.empty(m, n, dtype=dtype), None
        if activation:
            aux = place.up(np.zeros(aux_shape(name, m, n), np.uint8 if activation == "relu" else dtype))
        options = {"epilogue": name, "vector": place.up(b) if bias else None, "aux": aux}
        if not place.product(matrix(place.up(x)), matrix(place.up(weight)).transposed, y, m, n, k, **options):
            continue
        wanted = {None: z, "relu": np.maximum(z, 0), "gelu": gelu(z)}[activation]
        np.testing.assert_allclose(y.numpy(), wanted, **tolerance)
        if activation:
            slope = (y.numpy() > 0) if activation == "relu" else gelu_slope(z)
            goes_back(place, activation, aux, slope, tolerance)


def goes_back(place, activation, aux, slope, tolerance):
    """dz = (upper gradient times weight) act'(z) and its sums, from what the forward product left."""
    (m, n), k, dtype = slope.shape, 4, "float32" if aux.dtype == np.uint8 else str(aux.dtype)
    dy, weight = numbers(m, k, dtype=dtype, seed=3), numbers(k, n, dtype=dtype, seed=4)
    wanted = dy.astype(float) @ weight.astype(float) * slope
    for sums in (False, True):
        dz, vector = place.empty(m, n, dtype=dtype), place.empty(n, dtype=dtype)
        options = {"epilogue": f"D{activation.upper()}" + "_BGRAD" * sums, "vector": vector, "aux": aux}
        if not place.product(matrix(place.up(dy)), matrix(place.up(weight)), dz, m, n, k, **options):
            continue
        np.testing.assert_allclose(dz.numpy(), wanted, **tolerance)
        if sums:
            bound = tolerance["atol"] * max(1, np.abs(wanted).sum(axis=0).max())
            np.testing.assert_allclose(vector.numpy(), wanted.sum(axis=0), rtol=0, atol=bound)


@pytest.mark.parametrize(("name", "axis"), [("BGRADB", 1), ("BGRADA", 0)])
def test_sums_beside_a_product(name, axis, place):
    for m, n, k in SIZES:
        a, b = numbers(m, k), numbers(k, n, seed=1)
        c, sums = place.empty(m, n), place.empty(m if axis else n)
        if place.product(matrix(place.up(a)), matrix(place.up(b)), c, m, n, k, epilogue=name, vector=sums):
            np.testing.assert_allclose(c.numpy(), a @ b, rtol=1e-4, atol=1e-5)
            wanted = a.sum(axis=1) if axis else b.sum(axis=0)
            np.testing.assert_allclose(sums.numpy(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_comes_through_relu(dtype, place):
    a, b, bias = numbers(16, 32, dtype=dtype), numbers(32, 8, dtype=dtype), numbers(8, dtype=dtype)
    a[3, 5] = np.nan
    c, vector = place.empty(16, 8, dtype=dtype), place.up(bias)
    if place.product(matrix(place.up(a)), matrix(place.up(b)), c, 16, 8, 32, epilogue="RELU_BIAS", vector=vector):
        assert np.array_equal(np.isnan(c.numpy()).all(axis=1), np.arange(16) == 3)


def test_views_within_wider_rows(place):
    wide = numbers(6, 10)
    a, c = Matrix(place.up(wide), 10, 1), place.empty(6, 3)
    assert place.product(a, matrix(place.up(numbers(4, 3))), c, 6, 3, 4)
    np.testing.assert_allclose(c.numpy(), wide[:, :4] @ numbers(4, 3), rtol=1e-5, atol=1e-5)
