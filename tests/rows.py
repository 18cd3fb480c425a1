"""A row of `cases`, and the functions that write the rows of each operation with the usual values left out."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod

import numpy as np
from arrays import Maker, away_from, between, distinct, exactly, few_values, holding, indices, labels, normal

from dlfast.kernels.conv_methods import Abilities, Geometry
from dlfast.kernels.conv_plan import plan, plan_of_transposed
from dlfast.kernels.resizing import axis_step
from dlfast.kernels.sequences import steps_of

NAN, INF = float("nan"), float("inf")
RELATIVE, NO_GRADCHECK, WINOGRAD = ("relative",), ("no-gradcheck",), ("winograd",)
EXTREME = RELATIVE + NO_GRADCHECK
REDUCTIONS = ("none", "mean", "sum")
SHAPES = ((), (1,), (7,), (3, 5), (2, 1, 33), (259,), (0,), (4, 0, 2))
LOSS_SHAPES = ((), (1,), (5, 7), (67,), (0, 3))
HALVES = tuple(n / 2 for n in range(-7, 8))  # the kinks of |x - target| and huber where targets are -1, 0 or 1

# 1e-40 is denormal in float32; exp overflows from 88.8 on in float32, from 709.8 on in float64.
SIZES = (0, 1e-40, 1e-20, 1e-5, 0.01, 0.5, 1, 2, 3, 5, 8, 12, 17, 20, 30, 50, 80, 88.5, 90, 100, 700, 1e4, 1e20, INF)
EXTREMES = (*SIZES, *(-size for size in SIZES), NAN)


@dataclass(frozen=True, eq=False)
class Case:
    """``<op>_forward(*arrays, **options)`` and its backward. The row's name seeds the values: they never change.

    Tags: "relative", results are compared element by element, each on its own scale; "no-gradcheck", the derivative
    jumps or the values are no numbers, so central differences say nothing; "winograd", the method may lose a digit.
    """

    op: str
    name: str
    arrays: tuple[Maker | None, ...]
    options: dict = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def inputs(self, dtype) -> list[np.ndarray | None]:
        """The arrays, fresh, floats rounded to dtype."""
        rng = _generator(self, 0)
        return [make and _cast(make(rng), dtype) for make in self.arrays]

    def gradient(self, y, dtype):
        """A random gradient of the outputs y, an array or a tuple of them."""
        rng = _generator(self, 1)
        if isinstance(y, tuple):
            return tuple(_cast(rng.standard_normal(each.shape), dtype) for each in y)
        return _cast(rng.standard_normal(y.shape), dtype)


@dataclass(frozen=True, eq=False)
class StepCase:
    """An optimizer update of `size` parameters. `states` says which state arrays there are, `at_step` gives the options
    that change with the step (1, 2, ...)."""

    op: str
    name: str
    size: int
    states: tuple[bool, ...]
    options: dict
    at_step: Callable[[int], dict] = lambda step: {}

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def start(self, dtype) -> list[np.ndarray | None]:
        """The parameters and the state, which is zero at first."""
        param = _cast(_generator(self, 0).standard_normal(self.size), dtype)
        return [param, *(np.zeros(self.size, dtype) if given else None for given in self.states)]

    def gradient(self, step: int, dtype) -> np.ndarray:
        return _cast(_generator(self, step).standard_normal(self.size), dtype)


def _cast(values, dtype) -> np.ndarray:
    """Floats in dtype; whole numbers (labels, indices) as they are."""
    values = np.asarray(values, order="C")
    return values.astype(dtype) if values.dtype.kind == "f" else values


def _generator(case, stream: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(str(case).encode()), stream])


def shape_name(shape):
    return "x".join(map(str, shape)) or "scalar"


def weights(out, *inputs):
    """Small enough for activations not to saturate, which would leave few digits in their derivatives."""
    return normal(out, *inputs, scale=max(1, prod(inputs)) ** -0.5)


def linear(name, lead, features, out, bias=True, act=None, x=normal, tags=()):
    arrays = (x(*lead, features), weights(out, features), normal(out) if bias else None)
    return Case("linear", name, arrays, {"activation": act}, tags)


def matmul(name, a, b):
    return Case("matmul", name, (normal(*a), normal(*b)))


def conv2d(
    name, x, weight, bias=True, stride=1, pad=0, dilation=1, groups=1, act=None, method="exact", fill=normal, tags=(),
    pool=None, average=False,
):  # fmt: skip
    """One number for stride, dilation, pad or pool serves all axes or sides; pad is (top, bottom, left, right)."""
    geometry = Geometry(_each(stride), _each(pad, 4), _each(dilation), groups)
    arrays = (fill(*x), weights(*weight), normal(weight[0]) if bias else None)
    planned = plan(x, weight, geometry, act, method, pool and _each(pool), average)
    return Case("conv2d", name, arrays, {"plan": planned}, tags)


def conv_transpose2d(
    name, x, weight, bias=True, stride=1, pad=0, extra=0, dilation=1, groups=1, act=None, method="exact", fill=normal,
    tags=(),
):  # fmt: skip
    """As `conv2d`, weight (I, R, S, O/groups); extra is output_padding."""
    geometry = Geometry(_each(stride), _each(pad, 4), _each(dilation), groups)
    planned = plan_of_transposed(x, weight, geometry, _each(extra), act, method, Abilities())
    arrays = (fill(*x), weights(*weight), normal(weight[3] * groups) if bias else None)
    return Case("conv_transpose2d", name, arrays, {"plan": planned}, tags)


def conv2d_max_pool2d(name, x, weight, pool=2, **rest):
    return replace(conv2d(name, x, weight, pool=pool, **rest), op="conv2d_max_pool2d")


def conv2d_avg_pool2d(name, x, weight, pool=2, **rest):
    return replace(conv2d(name, x, weight, pool=pool, average=True, **rest), op="conv2d_avg_pool2d")


def conv2d_batch_norm(name, x, weight, residual=None, affine=True, act=None, bias=False, added=normal, tags=(), **rest):
    """residual: the shape of y."""
    case, k = conv2d(name, x, weight, bias, act=act, **rest), weight[0]
    norm = [normal(k) if affine else None] * 2
    arrays = (*case.arrays, *norm, residual and added(*residual), normal(k), between(0.5, 2, k))
    return Case("conv2d_batch_norm", name, arrays, {**case.options, "eps": 1e-3}, tags)


def _each(value, count=2):
    return value if isinstance(value, tuple) else (value,) * count


def max_pool2d(name, x, kernel, stride=None, pad=0, dilation=1, ceil=False, fill=distinct, tags=()):
    window = {"kernel_size": _each(kernel), "stride": _each(stride or kernel), "padding": _each(pad)}
    return Case("max_pool2d", name, (fill(*x),), {**window, "dilation": _each(dilation), "ceil_mode": ceil}, tags)


def avg_pool2d(name, x, kernel, stride=None, pad=0, ceil=False, count=True, fill=normal, tags=()):
    window = {"kernel_size": _each(kernel), "stride": _each(stride or kernel), "padding": _each(pad)}
    return Case("avg_pool2d", name, (fill(*x),), {**window, "ceil_mode": ceil, "count_include_pad": count}, tags)


def adaptive_avg_pool2d(name, x, output, fill=normal, tags=()):
    return Case("adaptive_avg_pool2d", name, (fill(*x),), {"output_size": output}, tags)


def interpolate(name, x, size, mode, align=False, factor=None, fill=normal, tags=()):
    """factor: of rows and columns, which need not be size / x."""
    step = tuple(axis_step(n, out, factor, align) for n, out in zip(x[1:3], size))
    options = {"size": size, "step": step, "mode": mode, "align_corners": align}
    return Case("interpolate", f"{mode}-{name}", (fill(*x),), options, tags)


def adaptive_max_pool2d(name, x, size, fill=distinct, tags=()):
    return Case("adaptive_max_pool2d", name, (fill(*x),), {"output_size": size}, tags)


def elementwise(op, kinks=(), tail=-INF, shapes=SHAPES, **options):
    """An activation at ordinary values, at its kinks, near 0 and at extreme values.

    Below `tail` the result is so sensitive to x that it is compared on the scale of the largest.
    """
    tag = "".join(f"{value}-" for value in options.values())
    return [
        *(Case(op, tag + shape_name(shape), (away_from(kinks, *shape),), options) for shape in shapes),
        Case(op, f"{tag}kinks", (exactly(*kinks, 0.0, -0.0),), options, NO_GRADCHECK),
        Case(op, f"{tag}near-0", (between(-1e-3, 1e-3, 37),), options, EXTREME),
        Case(op, f"{tag}extreme", (exactly(*(x for x in EXTREMES if not x < tail)),), options, EXTREME),
        Case(op, f"{tag}tail", (exactly(*(x for x in EXTREMES if x < tail), tail),), options, NO_GRADCHECK),
    ]


def dropout(name, *shape, p=0.5, seed=1, fill=normal, tags=()):
    return Case("dropout", name, (fill(*shape),), {"p": p, "seed": seed, "scale": 1 / (1 - p) if p < 1 else 0.0}, tags)


def softmaxes(name, x, axis, tags=()):
    return [Case(op, name, (x,), {"axis": axis}, tags) for op in ("softmax", "log_softmax")]


def cross_entropy(name, rows, classes, target=None, weight=None, smoothing=0.0, ignore=-100, logits=None, tags=()):
    """The row once for each reduction."""
    arrays = (logits or normal(rows, classes), target or labels(rows, classes), weight)
    options = {"label_smoothing": smoothing, "ignore_index": ignore}
    return [Case("cross_entropy", f"{name}-{r}", arrays, {**options, "reduction": r}, tags) for r in REDUCTIONS]


def differences(op, **options):
    """A loss of x - target, for each shape and reduction; then at its kinks, and at extreme differences."""
    rows = [
        Case(op, f"{shape_name(s)}-{r}", (away_from(HALVES, *s), few_values(*s)), {**options, "reduction": r})
        for s, r in product(LOSS_SHAPES, REDUCTIONS)
    ]
    extremes = (exactly(0, 1e4, -1e4, 1e-5, INF, -INF, NAN, 2.5), exactly(0, 0, 1, 0, 0, 1, 2, NAN))
    return [
        *rows,
        Case(op, "kinks", (few_values(4, 5), few_values(4, 5)), {**options, "reduction": "none"}, NO_GRADCHECK),
        Case(op, "extreme", extremes, {**options, "reduction": "none"}, EXTREME),
    ]


def bce(name, shape, weight=False, pos_weight=False, x=None, target=None, tags=()):
    arrays = (x or normal(*shape, scale=2), target or between(0, 1, *shape))
    arrays += tuple(between(0.5, 2, *shape) if given else None for given in (weight, pos_weight))
    return [Case("bce_with_logits", f"{name}-{r}", arrays, {"reduction": r}, tags) for r in REDUCTIONS]


def batch_norm(
    name, m, c, affine=True, statistics=False, residual=False, act=None, x=normal, eps=1e-5, lead=(), tags=()
):
    """x (..., m, c); with `statistics` mean and var are given."""
    arrays = [x(*lead, m, c), *[normal(c) if affine else None] * 2, normal(*lead, m, c) if residual else None]
    arrays += [normal(c), between(0.5, 2, c)] if statistics else [None, None]
    return Case("batch_norm", name, tuple(arrays), {"eps": eps, "activation": act}, tags)


def layer_norm(name, m, c, weight=True, bias=True, x=normal, eps=1e-5, tags=()):
    arrays = (x(m, c), normal(c) if weight else None, normal(c) if bias else None)
    return Case("layer_norm", name, arrays, {"eps": eps}, tags)


def rms_norm(name, m, c, weight=True, x=normal, eps=1e-5, tags=()):
    return Case("rms_norm", name, (x(m, c), normal(c) if weight else None), {"eps": eps}, tags)


def group_norm(name, shape, groups, weight=True, bias=True, x=normal, eps=1e-5, tags=()):
    """x (N, ..., C)."""
    arrays = (x(*shape), normal(shape[-1]) if weight else None, normal(shape[-1]) if bias else None)
    return Case("group_norm", name, arrays, {"groups": groups, "eps": eps}, tags)


def shifted(*shape):
    """Values far from 0: a variance as mean of squares less the squared mean would be lost."""
    return normal(*shape, offset=100)


def first_row_far(rows, columns):
    """An outlier where a variance might start from: taken about it, all others would be lost."""
    others = normal(rows, columns)

    def make(rng):
        x = others(rng)
        x[0] = 1e4
        return x

    return make


def first_pixels_far(*shape):
    """Images whose first rows lie far from the rest."""
    others = normal(*shape)

    def make(rng):
        x = others(rng)
        x[:, :70] += 1000
        return x

    return make


def embedding(name, shape, rows, width, padding_idx=None, tags=()):
    return Case("embedding", name, (indices(shape, rows), normal(rows, width)), {"padding_idx": padding_idx}, tags)


def cell(op, name, batch, features, hidden, biases=(True, True), x=normal, tags=(), **options):
    gates = {"rnn_cell": 1, "lstm_cell": 4, "gru_cell": 3}[op] * hidden
    states = [normal(batch, hidden)] * (2 if op == "lstm_cell" else 1)
    weights = (normal(gates, features, scale=0.5), normal(gates, hidden, scale=0.5))
    arrays = (x(batch, features), *states, *weights, *(normal(gates) if given else None for given in biases))
    return Case(op, name, arrays, options, tags)


def cells(op, prefix="", **options):
    return [
        cell(op, f"{prefix}plain", 3, 4, 5, **options),
        cell(op, f"{prefix}no-bias", 3, 4, 5, (False, False), **options),
        cell(op, f"{prefix}one-bias", 3, 4, 5, (True, False), **options),
        cell(op, f"{prefix}batch-1", 1, 9, 7, **options),
        cell(op, f"{prefix}batch-0", 0, 4, 3, **options),
        cell(op, f"{prefix}sizes-1", 1, 1, 1, **options),
        cell(op, f"{prefix}tiles", 13, 17, 9, **options),
        cell(op, f"{prefix}wide", 2, 40, 33, **options),
        cell(op, f"{prefix}saturated", 4, 3, 5, x=lambda *s: normal(*s, scale=100), tags=NO_GRADCHECK, **options),
        cell(op, f"{prefix}nan", 6, 3, 5, x=holding(NAN), tags=NO_GRADCHECK, **options),
    ]


def sequence(
    op, name, steps, batch, features, hidden, biases=(True, True), states=True, lengths=None, first=False,
    reverse=False, layers=1, both=False, x=normal, tags=(), **options,
):  # fmt: skip
    """lengths: of the sequences, None where all are whole; first: the batch is x's first axis; both: directions."""
    gates, ways = {"rnn": 1, "lstm": 4, "gru": 3}[op] * hidden, 1 + both
    state = (batch, hidden) if layers * ways == 1 else (layers * ways, batch, hidden)
    given = [normal(*state) if states else None] * (2 if op == "lstm" else 1)
    scale = min(0.5, hidden**-0.5)  # larger weights make the last state depend on the first one without bounds
    parameters = []
    for loop in range(layers * ways):
        inputs = features if loop < ways else ways * hidden
        parameters += [normal(gates, inputs, scale=scale), normal(gates, hidden, scale=scale)]
        parameters += [normal(gates) if bias else None for bias in biases]
    shape = (batch, steps, features) if first else (steps, batch, features)
    lengths = None if lengths is None else np.array(lengths)
    walks = tuple(steps_of(steps, batch, lengths, first, back) for back in ((False, True) if both else (reverse,)))
    return Case(op, name, (x(*shape), *given, *parameters), {"steps": walks, **options}, tags)


def sequences(op, prefix="", **options):
    ragged = (3, 1, 4, 4, 2)
    return [
        sequence(op, f"{prefix}plain", 4, 3, 2, 5, **options),
        sequence(op, f"{prefix}reverse", 4, 3, 2, 5, reverse=True, **options),
        sequence(op, f"{prefix}no-bias", 3, 2, 4, 3, (False, False), False, **options),
        sequence(op, f"{prefix}one-bias", 3, 9, 2, 3, (False, True), False, **options),
        sequence(op, f"{prefix}batch-first", 3, 4, 2, 5, first=True, **options),
        sequence(op, f"{prefix}lengths", 4, 5, 3, 6, lengths=ragged, **options),
        sequence(op, f"{prefix}lengths-reverse", 4, 5, 3, 6, lengths=ragged, first=True, reverse=True, **options),
        sequence(op, f"{prefix}lengths-no-state", 6, 5, 2, 9, states=False, lengths=ragged, reverse=True, **options),
        sequence(op, f"{prefix}batch-1", 5, 1, 3, 19, **options),
        sequence(op, f"{prefix}batch-0", 2, 0, 4, 3, **options),
        sequence(op, f"{prefix}one-step", 1, 2, 3, 4, **options),
        sequence(op, f"{prefix}size-1", 2, 1, 1, 1, **options),
        sequence(op, f"{prefix}tiles", 2, 23, 7, 33, **options),
        sequence(op, f"{prefix}features-0", 2, 9, 0, 4, **options),
        sequence(op, f"{prefix}both", 3, 2, 3, 4, both=True, **options),
        sequence(op, f"{prefix}both-odd", 5, 9, 3, 18, both=True, first=True, **options),
        sequence(op, f"{prefix}both-lengths", 4, 10, 3, 6, both=True, lengths=ragged * 2, states=False, **options),
        sequence(op, f"{prefix}both-one-step", 1, 2, 3, 4, both=True, **options),
        sequence(op, f"{prefix}both-batch-0", 2, 0, 4, 3, both=True, **options),
        sequence(op, f"{prefix}layers", 2, 3, 3, 5, layers=2, **options),
        sequence(op, f"{prefix}layers-batch-1", 3, 1, 3, 5, layers=2, **options),
        sequence(op, f"{prefix}layers-one-step", 1, 2, 3, 4, (True, False), layers=2, **options),
        sequence(
            op, f"{prefix}layers-both-lengths", 2, 5, 3, 4, layers=2, both=True, lengths=(2, 1, 2, 2, 1), **options
        ),
        sequence(op, f"{prefix}nan", 2, 4, 2, 5, x=holding(NAN), tags=NO_GRADCHECK, **options),
    ]


def attention(
    name, q, k, mask=None, last=False, causal=False, scale=0.5, dropout=0.0, x=normal, tags=(), seed=0x123456789ABCDEF
):
    """q: the shape of the queries, k of keys and values; mask: makes one."""
    options = {"heads_last": last, "causal": causal, "scale": scale, "dropout": dropout, "seed": seed}
    return Case("attention", name, (x(*q), x(*k), normal(*k), mask), options, tags)


def hiding(*shape, rows=0):
    """-inf for a third of the scores, 0 for the others; the first `rows` queries see nothing."""

    def make(rng):
        mask = np.where(rng.random(shape) < 1 / 3, -np.inf, 0.0)
        mask[..., :rows, :] = -np.inf
        return mask

    return make


def sgd(name, size=37, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0, grad_scale=1.0):
    options = {"lr": 0.1, "momentum": momentum, "dampening": dampening, "nesterov": nesterov}
    options |= {"weight_decay": weight_decay, "grad_scale": grad_scale}
    return StepCase("sgd_step", name, size, (momentum != 0,), options, lambda step: {"first": step == 1})


def rmsprop(name, size=37, alpha=0.99, eps=1e-8, inside=True, weight_decay=0.0, momentum=0.0, grad_scale=1.0):
    options = {"lr": 0.01, "alpha": alpha, "eps": eps, "eps_inside_sqrt": inside, "weight_decay": weight_decay}
    options |= {"momentum": momentum, "grad_scale": grad_scale}
    return StepCase("rmsprop_step", name, size, (True, momentum != 0), options)


def adam(name, size=37, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=False, grad_scale=1.0):
    options = {"lr": 0.01, "beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}
    options |= {"decoupled": decoupled, "grad_scale": grad_scale}
    return StepCase("adam_step", name, size, (True, True), options, lambda step: {"step": step})


def adagrad(name, size=37, eps=1e-10, weight_decay=0.0, grad_scale=1.0):
    options = {"lr": 0.01, "eps": eps, "weight_decay": weight_decay, "grad_scale": grad_scale}
    return StepCase("adagrad_step", name, size, (True,), options)


def nadam(name, size=37, **options):
    """mu as it is with momentum_decay 0.004 and beta1 0.9."""
    mu = [0.9 * (1 - 0.5 * 0.96 ** (0.004 * step)) for step in range(10)]

    def at_step(step):
        return {"step": step, "mu": mu[step], "next_mu": mu[step + 1], "mu_product": prod(mu[1 : step + 1])}

    return StepCase("nadam_step", name, size, (True, True), adam(name, **options).options, at_step)


def radam(name, size=37, **options):
    return StepCase("radam_step", name, size, (True, True), adam(name, **options).options, lambda step: {"step": step})


def lion(name, size=37, beta1=0.9, beta2=0.99, weight_decay=0.0, grad_scale=1.0):
    options = {"lr": 0.01, "beta1": beta1, "beta2": beta2, "weight_decay": weight_decay, "grad_scale": grad_scale}
    return StepCase("lion_step", name, size, (True,), options)
