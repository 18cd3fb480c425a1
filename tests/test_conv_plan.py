"""The plan of a convolution: decided once, read alike by kernels, fusion and explain, whatever backend runs."""

from importlib import import_module

import numpy as np
import pytest
from agreement import assert_agrees

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels, nn
from dlfast.kernels import conv_plan
from dlfast.kernels.conv_methods import PLAIN, Abilities, Geometry
from dlfast.kernels.conv_plan import PASSES, plan
from dlfast.tensor import Tensor

BACKENDS = [name for name in ("reference", "numba", "cython") if name in kernels.backends_of("conv2d")]
# image, kernels, side, stride, padding, groups: a row for each method, and those that backends see differently
ROWS = [
    ((2, 9, 9, 3), 16, 3, 1, 1, 1),
    ((2, 13, 13, 32), 32, 3, 1, 1, 1),
    ((4, 41, 41, 3), 40, 7, 2, 3, 1),
    ((2, 9, 9, 16), 16, 3, 2, 1, 1),
    ((2, 9, 9, 16), 16, 1, 1, 0, 1),
    ((2, 9, 9, 24), 24, 3, 1, 1, 24),
    ((2, 9, 9, 8), 12, 3, 1, 1, 4),
    ((2, 9, 9, 12), 20, 5, 1, 2, 1),
]


@pytest.fixture(params=BACKENDS)
def backend(request):
    with dl.use_backend(request.param, "reference"):
        yield request.param


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def arrays_of(row):
    image, outputs, side, _, _, groups = row
    return drawn(0, *image), drawn(1, outputs, side, side, image[3] // groups)


def options_of(row):
    return {"stride": row[3], "padding": row[4], "groups": row[5]}


def abilities_of(backend):
    return import_module(f"dlfast.kernels.{backend}.conv").ABILITIES


def gradients(y, *tensors):
    y.backward(drawn(5, *y.shape))
    return [y.data, *(x.grad for x in tensors)]


def planned(run):
    """The plan that an operation was handed."""
    with kernels.watch() as calls:
        run()
    return calls[-1].options["plan"]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_pass_runs_the_method_of_the_plan(row, backend):
    """Asked for by name, the method of a pass gives the bits that the plan's choice gives."""

    def run(method):
        x, w = (Tensor(a, requires_grad=True) for a in arrays_of(row))
        return gradients(F.conv2d(x, w, **options_of(row), method=method), x, w)

    made = planned(lambda: run("auto"))
    assert set(made.choices) == set(PASSES)
    chosen = run("auto")
    for at, passing in enumerate(PASSES):
        method = getattr(made, passing)
        assert made.choices[passing].method == method
        assert method in abilities_of(backend).methods
        np.testing.assert_array_equal(chosen[at], run(method)[at], err_msg=f"{passing}, {method}")


@pytest.mark.skipif("numba" not in BACKENDS, reason="needs Numba")
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_numba_runs_the_file_that_the_plan_names(row, monkeypatch):
    conv, ran = import_module("dlfast.kernels.numba.conv"), []

    class Noting:
        def __init__(self, name, module):
            self.name, self.module = name, module

        def __getattr__(self, function):
            ran.append(self.name)
            return getattr(self.module, function)

    monkeypatch.setattr(conv, "_MODULES", {name: Noting(name, module) for name, module in conv._MODULES.items()})
    with dl.use_backend("numba"):
        x, w = (Tensor(a, requires_grad=True) for a in arrays_of(row))
        made = planned(lambda: gradients(F.conv2d(x, w, **options_of(row)), x, w))
    assert ran == [made.forward, made.dx, made.dweight]


@pytest.mark.parametrize("pool", [2, 3])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_fusion_asks_the_plan_that_the_kernel_gets(row, average, pool, backend):
    image, outputs, side, stride, padding, groups = row
    conv = nn.Conv2d(image[3], outputs, side, stride, padding, groups=groups)
    net = nn.Sequential(conv, nn.ReLU(), (nn.AvgPool2d if average else nn.MaxPool2d)(pool))
    x = drawn(0, *image)
    with kernels.watch() as calls:
        net(x)
    fused = "conv2d_avg_pool2d" if average else "conv2d_max_pool2d"
    function = getattr(F, fused)
    asked = planned(lambda: function(x, conv.weight, conv.bias, **options_of(row), pool_size=pool, activation="relu"))
    assert (calls[0].op == fused) == asked.pays
    assert not asked.pays or calls[0].options["plan"] is asked


def test_large_strides_on_three_channels_keep_their_fusion(backend):
    """Where Winograd's method is for 3 x 3 only, 7 x 7 with stride 2 is direct, and so is the pooling behind it."""
    abilities = abilities_of(backend)
    made = plan((8, 224, 224, 3), (64, 7, 7, 3), Geometry((2, 2), (3,) * 4, (1, 1), 1), "relu", pool=(2, 2),
                abilities=abilities)  # fmt: skip
    if abilities is PLAIN:
        assert (made.forward, made.pays, made.windows) == ("im2col", False, "")
    elif abilities.only_3x3:
        assert (made.forward, made.dweight, made.pays, made.windows, made.windows_back) == (
            "direct", "direct", True, "direct", "direct",
        )  # fmt: skip
    else:
        assert (made.forward, made.pays, made.windows) == ("winograd", False, "")


def test_pooling_at_once_pays_by_the_method_in_force():
    plain, image, kernel = Geometry((1, 1), (1,) * 4, (1, 1), 1), (8, 28, 28, 64), (64, 3, 3, 64)
    able = Abilities(pooled=("direct", "winograd"), averaged=("direct",))

    def pays(image, kernel, pool, method="auto", average=False, abilities=able):
        return plan(image, kernel, plain, None, method, pool, average, abilities).pays

    assert pays(image, kernel, (2, 2))
    assert not pays(image, kernel, (2, 2), "exact")
    assert not pays(image, kernel, (3, 3))
    assert not pays(image, (64, 5, 5, 64), (2, 2))  # its tiles are 2 x 2
    assert not pays(image, kernel, (2, 2), abilities=Abilities(pooled=("direct",)))
    few = (8, 28, 28, 1), (32, 3, 3, 1), (3, 3)
    assert pays(*few, "exact")
    assert not pays(*few, abilities=Abilities())
    assert pays(*few, average=True)
    assert not pays(*few[:2], (29, 2))
    assert not pays(*few, average=True, abilities=Abilities(pooled=("direct",)))


def operations(row):
    x, w = (Tensor(a, requires_grad=True) for a in arrays_of(row))
    yield lambda: gradients(F.conv2d(x, w, **options_of(row)), x, w)
    yield lambda: gradients(F.conv2d_max_pool2d(x, w, **options_of(row), activation="relu"), x, w)
    yield lambda: gradients(F.conv2d_avg_pool2d(x, w, **options_of(row), activation="tanh"), x, w)
    up = Tensor(drawn(0, 2, 5, 5, w.shape[0]), requires_grad=True)
    yield lambda: gradients(F.conv_transpose2d(up, w, groups=row[5], stride=2), up, w)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_nothing_is_decided_twice(row, backend, monkeypatch):
    """A second call, forward and backward, finds everything in the plan of the first."""
    runs = list(operations(row))
    for run in runs:
        run()

    def decided_again(*arguments, **options):
        raise AssertionError("a kernel asked which method to take")

    monkeypatch.setattr(conv_plan, "choose", decided_again)
    monkeypatch.setattr(conv_plan, "plan", decided_again)
    for run in runs:
        run()


def test_precision_and_backend_in_force_are_part_of_what_is_remembered():
    x, w = arrays_of(ROWS[1])
    run = lambda: F.conv2d(x, w, padding=1)  # noqa: E731
    fast = planned(run)
    assert planned(run) is fast
    dl.set_precision("exact")
    try:
        assert planned(run).forward == ("direct" if "cython" in kernels.backends_of("conv2d") else "im2col")
    finally:
        dl.set_precision("fast")
    with dl.use_backend("reference"):
        assert planned(run).abilities is PLAIN
    assert planned(run) is fast


@pytest.mark.parametrize("behind", BACKENDS)
@pytest.mark.parametrize("ahead", BACKENDS)
@pytest.mark.parametrize("op", ["conv2d", "conv2d_max_pool2d", "conv2d_avg_pool2d"])
def test_a_backend_plans_anew_what_another_began(op, ahead, behind):
    """7 x 7 with stride 2 is Winograd's in one backend and direct in another; `saved` fits both."""
    row = ROWS[2]
    x, w = arrays_of(row)
    geometry, pool = Geometry((2, 2), (3,) * 4, (1, 1), 1), None if op == "conv2d" else (2, 2)
    average = op == "conv2d_avg_pool2d"
    made = plan(x.shape, w.shape, geometry, "relu", "auto", pool, average, abilities_of(ahead))
    y, saved = kernels.pair(op, ahead)[0](x, w, None, plan=made)
    dy = drawn(5, *y.shape)
    found = kernels.pair(op, behind)[1](dy, saved, (True, True, False))
    truth = kernels.pair(op, "reference")
    wide, kept = truth[0](x.astype(np.float64), w.astype(np.float64), None, plan=made)
    wanted = truth[1](dy.astype(np.float64), kept, (True, True, False))
    near = truth[1](dy, truth[0](x, w, None, plan=made)[1], (True, True, False))
    for got, reference, exact in zip(found[:2], near[:2], wanted[:2], strict=True):
        assert_agrees(f"{op} {ahead} {behind}", got, reference, exact, ("winograd",))
    other = made.of(abilities_of(behind))
    assert other.abilities == abilities_of(behind)
    assert (other.image, other.geometry, other.pool) == (made.image, made.geometry, made.pool)


def test_explain_reads_the_plan(backend):
    for row in ROWS:
        image, outputs, side, stride, padding, groups = row
        conv = nn.Conv2d(image[3], outputs, side, stride, padding, groups=groups)
        made = planned(lambda conv=conv, image=image: conv(drawn(0, *image)))
        (shown,) = dl.explain(conv, Tensor(drawn(0, *image), requires_grad=True)).rows
        assert (shown.forward, shown.dx, shown.dweight) == (made.forward, made.dx, made.dweight)
        assert set(shown.why) == set(made.choices.values())


@pytest.mark.parametrize("average", [False, True])
def test_neighbours_in_one_pass_give_the_output_of_the_two(average, backend):
    """Bit by bit, bias and all; gradients to rounding, since their sums are cut at windows."""
    rng = np.random.default_rng(11)
    rows = [((2, 17, 7, 4), 17, 5, 1), ((2, 12, 12, 32), 32, 3, 1), ((2, 40, 41, 1), 6, 5, 2)]
    rows += [
        ((2, *(int(n) for n in rng.integers(7, 25, 2)), int(rng.integers(1, 8))), int(rng.integers(1, 40)), 3, 1)
        for _ in range(6)
    ]
    op, pool = (F.conv2d_avg_pool2d, F.avg_pool2d) if average else (F.conv2d_max_pool2d, F.max_pool2d)
    for image, outputs, side, padding in rows:
        x, w, b = drawn(0, *image), drawn(1, outputs, side, side, image[3]), drawn(2, outputs)
        both = [Tensor(a, requires_grad=True) for a in (x, w, b)]
        apart = [Tensor(a, requires_grad=True) for a in (x, w, b)]
        found = gradients(op(*both, padding=padding, activation="relu"), *both)
        wanted = gradients(pool(F.conv2d(*apart, padding=padding, activation="relu"), 2), *apart)
        np.testing.assert_array_equal(found[0], wanted[0], err_msg=f"{image} to {outputs}")
        for got, other in zip(found[1:], wanted[1:], strict=True):
            np.testing.assert_allclose(got, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())
