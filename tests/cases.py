"""The one table of cases: operation, name, arrays, options. Every comparison of kernels is generated from its rows.

To test a new operation, add rows here, ``Case(op, name, arrays, options)``, and to LARGE one that is big enough to be
cut into jobs for several threads; the tests need no change. `arrays` makes arrays (``normal(3, 4)``, ``labels(5, 3)``);
`rows` tells what a row is, and holds shorter ways to write those that are here.
"""

from __future__ import annotations

from itertools import product

from arrays import away_from, between, constant, exactly, few_values, holding, labels, normal, whole
from rows import (
    EXTREME,
    INF,
    LOSS_SHAPES,
    NAN,
    NO_GRADCHECK,
    REDUCTIONS,
    SHAPES,
    WINOGRAD,
    Case,
    adagrad,
    adam,
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    attention,
    avg_pool2d,
    batch_norm,
    bce,
    cell,
    cells,
    conv2d,
    conv2d_avg_pool2d,
    conv2d_batch_norm,
    conv2d_max_pool2d,
    conv_transpose2d,
    cross_entropy,
    differences,
    dropout,
    elementwise,
    embedding,
    first_pixels_far,
    first_row_far,
    group_norm,
    hiding,
    interpolate,
    layer_norm,
    linear,
    lion,
    matmul,
    max_pool2d,
    nadam,
    radam,
    rms_norm,
    rmsprop,
    sequence,
    sequences,
    sgd,
    shape_name,
    shifted,
    softmaxes,
)

ACTIVATIONS = ("relu", "sigmoid", "tanh")

# linear: x (..., I), weight (O, I), bias (O,)

# (rows, columns, depth): whole tiles of 6 or 12 rows and 8, 16 or 32 columns, and what is left over beyond them.
TILES = ((1, 1, 1), (2, 15, 3), (5, 16, 1), (6, 17, 2), (7, 31, 5), (11, 8, 17), (12, 32, 16), (25, 47, 33))

LINEAR = [
    *(linear(f"{m}x{n}x{k}", (m,), k, n) for m, n, k in TILES),
    *(linear(a, (7,), 5, 9, act=a) for a in ACTIVATIONS),
    *(linear(f"{a}-no-bias", (7,), 5, 9, False, a) for a in (None, *ACTIVATIONS)),
    linear("1d", (), 6, 5, act="tanh"),
    linear("3d", (2, 3), 6, 5, act="relu"),
    linear("one-row", (1,), 70, 35, act="relu"),
    linear("batch-0", (0,), 6, 5, act="relu"),
    linear("features-0", (4,), 0, 5),
    linear("out-0", (4,), 6, 0),
    linear("wide", (3,), 20, 300, act="sigmoid"),
    linear("many-rows", (101,), 12, 10, act="relu"),
    linear("long-depth", (20,), 1200, 9),
    linear("long-sums", (1200,), 9, 10),
    linear("nan", (7,), 5, 9, act="relu", x=holding(NAN), tags=NO_GRADCHECK),
    linear("inf", (9,), 1, 9, act="tanh", x=holding(INF, -INF), tags=NO_GRADCHECK),
    *(matmul(f"{m}x{n}x{k}", (m, k), (k, n)) for m, n, k in TILES),
    matmul("batched", (3, 4, 5), (3, 5, 6)),
    matmul("broadcast", (2, 1, 3, 4), (5, 4, 2)),
    matmul("stack-times-matrix", (2, 3, 4, 5), (5, 6)),
    matmul("matrix-times-stack", (4, 5), (3, 5, 6)),
    matmul("stretched", (1, 4, 5), (3, 5, 6)),
    matmul("one-column", (3, 9), (9, 1)),
    matmul("rows-0", (0, 4), (4, 3)),
    matmul("depth-0", (3, 0), (0, 4)),
    matmul("batch-0", (0, 3, 4), (4, 5)),
    matmul("long-depth", (5, 1100), (1100, 7)),
    matmul("few-columns", (200, 300), (300, 33)),
]

# conv2d: x (N, H, W, C), weight (K, R, S, C/groups), bias (K,)


CONV = [
    conv2d("3x3", (2, 5, 6, 3), (4, 3, 3, 3)),
    conv2d("same", (2, 5, 6, 3), (4, 3, 3, 3), pad=1, act="relu"),
    *(conv2d(a, (1, 4, 5, 2), (3, 2, 2, 2), act=a) for a in ACTIVATIONS),
    *(conv2d(f"{a}-no-bias", (1, 4, 5, 2), (3, 2, 2, 2), False, act=a) for a in (None, *ACTIVATIONS)),
    conv2d("1x1", (2, 3, 4, 5), (6, 1, 1, 5)),
    conv2d("1x1-stride", (2, 5, 4, 5), (6, 1, 1, 5), stride=2),
    conv2d("1x3", (1, 4, 6, 2), (3, 1, 3, 2), pad=(0, 0, 1, 1)),
    conv2d("3x1", (1, 6, 4, 2), (3, 3, 1, 2), pad=(1, 1, 0, 0), act="relu"),
    conv2d("5x4", (1, 7, 7, 2), (3, 5, 4, 2), stride=(1, 2)),
    conv2d("stride", (2, 7, 8, 3), (4, 3, 3, 3), stride=(2, 3)),
    conv2d("stride-over-kernel", (1, 9, 8, 2), (3, 2, 2, 2), stride=(3, 4)),
    conv2d("unread-edge", (1, 6, 8, 2), (3, 3, 3, 2), stride=(2, 3), pad=(1, 0, 0, 1)),
    conv2d("asymmetric-padding", (1, 4, 5, 2), (3, 3, 2, 2), pad=(0, 2, 3, 1)),
    conv2d("padding-over-kernel", (1, 3, 2, 2), (3, 2, 2, 2), pad=(3, 4, 4, 2), act="relu"),
    conv2d("dilation", (1, 8, 9, 2), (3, 3, 3, 2), dilation=(2, 3)),
    conv2d("dilation-stride", (2, 9, 10, 2), (3, 3, 3, 2), stride=(2, 3), dilation=2, pad=(2, 1, 1, 2)),
    conv2d("dilation-columns", (1, 5, 9, 2), (3, 2, 3, 2), dilation=(1, 2), pad=(1, 0, 2, 1)),
    conv2d("groups", (2, 5, 5, 4), (6, 3, 3, 2), groups=2, pad=1, act="relu"),
    conv2d("groups-stride", (1, 7, 6, 6), (3, 3, 2, 2), groups=3, stride=2, dilation=(1, 2), pad=(1, 0, 0, 1)),
    conv2d("depthwise", (2, 5, 6, 7), (7, 3, 3, 1), False, groups=7, pad=1),
    conv2d("depthwise-multiplier", (1, 5, 5, 3), (6, 3, 3, 1), groups=3, stride=2),
    conv2d("kernel-is-image", (3, 4, 5, 2), (3, 4, 5, 2)),
    conv2d("size-1", (1, 1, 1, 1), (1, 1, 1, 1), act="tanh"),
    conv2d("only-padding", (1, 1, 1, 2), (2, 3, 3, 2), pad=2),
    conv2d("batch-0", (0, 5, 6, 3), (4, 3, 3, 3), pad=1, act="relu"),
    conv2d("one-channel", (2, 8, 7, 1), (17, 3, 3, 1), pad=1, act="relu"),
    conv2d("to-one-channel", (1, 5, 6, 17), (1, 3, 3, 17), pad=1),
    conv2d("wide", (1, 4, 5, 33), (35, 3, 3, 33), pad=1),
    conv2d("tiles", (1, 6, 8, 16), (32, 2, 2, 16), pad=(0, 1, 0, 1), act="relu"),
    conv2d("many-pixels", (2, 13, 17, 3), (7, 3, 3, 3), pad=1, act="relu"),
    conv2d("deep", (1, 4, 4, 130), (6, 3, 3, 130), pad=1),
    conv2d("deeper", (1, 3, 3, 270), (6, 2, 2, 270), pad=1),
    conv2d("more-outputs", (1, 4, 3, 3), (270, 2, 2, 3), stride=(1, 2), pad=1),
    *(
        conv2d(
            f"winograd-{h}x{w}x{c}-{k}", (n, h, w, c), (k, 3, 3, c), pad=pad, act=act, method="winograd", tags=WINOGRAD
        )
        for n, h, w, c, k, pad, act in (
            (2, 8, 8, 16, 32, 1, "relu"),
            (1, 7, 9, 5, 7, 1, None),
            (1, 5, 6, 33, 20, 0, "tanh"),
            (3, 1, 1, 4, 3, 1, None),
            (1, 3, 3, 8, 8, (0, 2, 3, 1), "relu"),
            (64, 7, 6, 9, 10, 1, "relu"),
            (128, 6, 3, 3, 17, (0, 2, 3, 0), None),
            (0, 6, 6, 8, 8, 1, None),
            (1, 18, 21, 17, 15, 2, "relu"),
            (2, 7, 9, 100, 84, 1, "relu"),  # few tiles, many kernels
            (1, 3, 3, 84, 100, 1, "tanh"),
        )
    ),
    *(
        conv2d(
            f"winograd-{r}x{s}-stride-{stride}-{h}x{w}x{c}-{k}",
            (n, h, w, c),
            (k, r, s, c),
            stride=stride,
            pad=pad,
            act=act,
            method="winograd",
            tags=WINOGRAD,
        )
        for n, h, w, c, k, r, s, stride, pad, act in (
            (2, 7, 8, 9, 17, 5, 5, 1, 2, "relu"),
            (1, 5, 5, 3, 4, 5, 5, 1, 0, None),
            (1, 1, 2, 1, 1, 5, 5, 1, (4, 1, 0, 3), "tanh"),
            (0, 6, 6, 8, 8, 5, 5, 1, 2, None),
            (2, 8, 10, 12, 8, 4, 4, 1, (1, 2, 2, 1), "relu"),
            (1, 4, 7, 20, 3, 4, 4, 1, 0, None),
            (1, 2, 3, 1, 9, 4, 4, 1, (3, 0, 1, 3), None),
            (2, 13, 14, 3, 8, 7, 7, 2, 3, "relu"),
            (1, 23, 21, 3, 5, 11, 11, 4, 2, "sigmoid"),
            (1, 9, 8, 5, 7, 6, 5, 2, (0, 1, 2, 3), None),
            (1, 13, 9, 2, 3, 10, 4, (4, 1), (1, 0, 0, 2), None),
            (1, 10, 8, 1, 1, 8, 3, (2, 1), (0, 0, 3, 0), None),
            (2, 17, 12, 4, 6, 13, 9, (3, 2), (2, 3, 0, 5), "relu"),
            (0, 9, 9, 3, 8, 7, 7, 2, 3, None),
        )
    ),
    *(
        conv2d(f"direct-{h}x{w}x{c}-{k}", (n, h, w, c), (k, r, r, c), stride=stride, pad=pad, act=act, method="direct")
        for n, h, w, c, k, r, stride, pad, act in (
            (2, 8, 13, 3, 16, 3, 1, 1, "relu"),
            (1, 7, 9, 1, 7, 3, 2, 1, None),
            (2, 15, 18, 3, 33, 5, (3, 2), (2, 0, 0, 1), "tanh"),
            (1, 24, 25, 3, 8, 11, 4, 2, "relu"),
            (0, 6, 6, 1, 4, 3, 1, 1, None),
            (1, 6, 30, 9, 20, 2, 1, 0, None),
            (2, 9, 70, 3, 9, 3, 1, 1, None),
            (1, 9, 11, 2, 5, 2, 3, 1, None),
            (2, 28, 28, 1, 6, 5, 1, 2, "tanh"),
            (2, 14, 14, 6, 16, 5, 1, 0, "tanh"),
            (1, 11, 31, 4, 12, 3, (1, 2), 1, "sigmoid"),
            (1, 9, 12, 7, 6, 3, (2, 1), (0, 2, 3, 0), None),
        )
    ),
    conv2d("direct-dilation", (1, 9, 9, 2), (5, 3, 3, 2), dilation=(2, 1), pad=1, method="direct"),
    conv2d("depthwise-lanes", (2, 6, 7, 19), (19, 3, 3, 1), groups=19, pad=1, act="relu"),
    conv2d("groups-three", (2, 6, 11, 9), (17 * 9, 3, 2, 1), groups=9, pad=1, act="relu", tags=NO_GRADCHECK),
    conv2d("groups-across", (1, 7, 10, 10), (15, 3, 3, 2), groups=5, stride=(2, 1), dilation=(1, 2), pad=(4, 0, 1, 5)),
    conv2d("groups-many", (2, 5, 4, 51), (34, 2, 2, 3), groups=17, stride=3, pad=1, act="tanh"),
    conv2d("groups-batch-0", (0, 5, 4, 6), (6, 3, 3, 2), groups=3, pad=1),
    conv2d("depthwise-stride", (1, 9, 8, 32), (32, 3, 2, 1), groups=32, stride=(2, 3), dilation=2, pad=(1, 2, 0, 1)),
    conv2d("pointwise-wide", (1, 5, 7, 20), (35, 1, 1, 20), act="relu"),
    conv2d("nan", (1, 6, 7, 2), (5, 3, 3, 2), pad=1, act="relu", fill=holding(NAN), tags=NO_GRADCHECK),
    conv2d("inf", (1, 6, 7, 1), (5, 1, 1, 1), act="sigmoid", fill=holding(INF, -INF), tags=NO_GRADCHECK),
]

# conv_transpose2d: x (N, H, W, I), weight (I, R, S, O/groups), bias (O,)


CONV_TRANSPOSE = [
    conv_transpose2d("3x3", (2, 4, 5, 3), (3, 3, 3, 4)),
    conv_transpose2d("doubled", (2, 4, 5, 3), (3, 2, 2, 4), stride=2, act="relu"),
    conv_transpose2d("doubled-4x4", (1, 3, 4, 5), (5, 4, 4, 2), stride=2, pad=1, act="tanh"),
    conv_transpose2d("output-padding", (1, 3, 4, 2), (2, 3, 3, 3), stride=2, pad=1, extra=1, act="sigmoid"),
    conv_transpose2d("output-padding-2", (2, 3, 2, 2), (2, 3, 2, 3), stride=(3, 2), pad=(0, 1, 1, 0), extra=(2, 1)),
    conv_transpose2d("output-padding-over-stride", (1, 4, 3, 2), (2, 2, 2, 3), stride=(1, 2), dilation=3, extra=2),
    *(
        conv_transpose2d(f"{a}-no-bias", (1, 3, 4, 2), (2, 2, 3, 3), False, stride=(2, 1), act=a)
        for a in (None, *ACTIVATIONS)
    ),
    conv_transpose2d("1x1", (2, 3, 4, 5), (5, 1, 1, 6), act="relu"),
    conv_transpose2d("1x1-stride", (1, 3, 4, 5), (5, 1, 1, 6), stride=(2, 3), extra=1),
    conv_transpose2d("stride-over-kernel", (1, 3, 4, 2), (2, 2, 1, 3), stride=(3, 4)),
    conv_transpose2d("asymmetric-padding", (1, 5, 4, 2), (2, 3, 4, 3), pad=(0, 2, 3, 1)),
    conv_transpose2d("dilation", (1, 4, 3, 2), (2, 3, 2, 3), dilation=(2, 3), stride=(1, 2), pad=1),
    conv_transpose2d("groups", (2, 4, 3, 4), (4, 3, 3, 3), groups=2, stride=2, pad=1, extra=1, act="relu"),
    conv_transpose2d("depthwise", (1, 4, 5, 17), (17, 3, 3, 1), groups=17, stride=2, pad=(1, 0, 0, 1)),
    conv_transpose2d("size-1", (1, 1, 1, 1), (1, 1, 1, 1)),
    conv_transpose2d("one-pixel", (3, 1, 1, 20), (20, 4, 4, 9), act="relu"),
    conv_transpose2d("all-but-one-cut", (1, 2, 2, 2), (2, 3, 3, 2), pad=(1, 2, 2, 1)),
    conv_transpose2d("batch-0", (0, 4, 5, 3), (3, 3, 3, 4), stride=2, act="relu"),
    conv_transpose2d("to-one-channel", (1, 5, 6, 17), (17, 3, 3, 1), pad=1),
    conv_transpose2d("wide", (1, 4, 5, 33), (33, 3, 3, 35), stride=2, pad=1),
    conv_transpose2d("winograd", (2, 7, 6, 24), (24, 3, 3, 20), pad=1, act="relu", method="auto", tags=WINOGRAD),
    conv_transpose2d("nan", (1, 4, 5, 2), (2, 3, 3, 5), stride=2, act="relu", fill=holding(NAN), tags=NO_GRADCHECK),
]

# max_pool2d and avg_pool2d: x (N, H, W, C)


WINDOWS = [
    ("2x2", (2, 6, 8, 3), 2),
    ("2x2-odd", (2, 7, 5, 17), 2),
    ("2x2-wide", (1, 4, 6, 67), 2),
    ("2x2-few", (2, 5, 14, 6), 2),
    ("3x2-few", (2, 7, 15, 6), (3, 2)),
    ("3x3-padded", (1, 7, 17, 5), 3, 3, 1),
    ("3x3-stride-2", (1, 7, 9, 5), 3, 2, 1),
    ("overlapping", (1, 5, 6, 33), 3, 1, 1),
    ("3x2", (1, 7, 6, 4), (3, 2), (2, 1)),
    ("stride-over-kernel", (1, 9, 8, 2), 2, (3, 4)),
    ("1x1", (1, 4, 5, 3), 1),
    ("1x1-stride", (1, 4, 5, 3), 1, (2, 3)),
    ("kernel-is-image", (2, 5, 7, 3), (5, 7)),
    ("size-1", (1, 1, 1, 1), 1),
    ("batch-0", (0, 6, 8, 3), 2),
]
CEIL_WINDOWS = [
    ("ceil", (2, 6, 8, 3), 3, 2),
    ("ceil-padding", (1, 5, 6, 3), 3, (2, 3), 1),
    ("ceil-dropped", (1, 4, 4, 2), 2, 3, 1),
]

# (channels, kernel, stride): less than a register, one and a bit, nearly two, of each instruction set
FEW_CHANNELS = [
    *((c, 2, 1) for c in (1, 3, 4, 8, 17)),
    *((c, 3, 2) for c in (1, 2, 5, 9, 18)),
    *((c, 3, 3) for c in (1, 4, 8, 21)),
    (3, 4, 3),
    (6, 2, 3),
]

POOL = [
    *(max_pool2d(*row) for row in WINDOWS),
    *(max_pool2d(*row, ceil=True) for row in CEIL_WINDOWS),
    max_pool2d("dilation", (1, 8, 9, 3), (2, 3), (1, 2), dilation=(3, 2)),
    max_pool2d("dilation-padding", (1, 7, 8, 2), 3, 2, 1, 2, ceil=True),
    max_pool2d("dilation-ceil", (1, 7, 8, 2), 2, 2, 1, 3, ceil=True),
    max_pool2d("large-kernel", (1, 18, 19, 2), 17, 1),
    *(max_pool2d(f"{c}-channels-{k}-by-{s}", (2, 6, 9, c), k, s, k // 2) for c, k, s in FEW_CHANNELS),
    max_pool2d("ties", (2, 6, 8, 3), 3, 2, 1, fill=few_values, tags=NO_GRADCHECK),
    max_pool2d("ties-2x2", (2, 6, 8, 9), 2, fill=few_values, tags=NO_GRADCHECK),
    max_pool2d("nan", (2, 6, 8, 3), 2, fill=holding(NAN), tags=NO_GRADCHECK),
    max_pool2d("nan-inf", (1, 6, 8, 9), 3, 2, 1, fill=holding(NAN, INF, -INF), tags=NO_GRADCHECK),
    max_pool2d("minus-inf", (1, 4, 5, 3), 3, 1, 1, fill=lambda *s: constant(-INF, *s), tags=NO_GRADCHECK),
    max_pool2d("lowest", (1, 4, 5, 9), 3, 2, 1, fill=lambda *s: normal(*s, offset=-1e38), tags=NO_GRADCHECK),
    *(avg_pool2d(*row) for row in WINDOWS),
    *(avg_pool2d(*row, ceil=True) for row in CEIL_WINDOWS),
    *(avg_pool2d(f"{name}-not-counted", *row, ceil=True, count=False) for name, *row in CEIL_WINDOWS),
    avg_pool2d("padding-not-counted", (1, 7, 9, 5), 3, 2, 1, count=False),
    *(avg_pool2d(f"{c}-channels", (2, 5, 7, c), 2) for c in (1, 3, 7, 9, 13, 17)),
    *(avg_pool2d(f"{c}-channels-padded", (2, 5, 6, c), (2, 3), pad=1, count=False) for c in (1, 6, 11)),
    *(avg_pool2d(f"{c}-channels-{k}-by-{s}", (2, 6, 9, c), k, s, k // 2, count=c % 2) for c, k, s in FEW_CHANNELS),
    avg_pool2d("one-window", (2, 3, 3, 6), 3),
    avg_pool2d("many-cells", (2, 9, 31, 5), (9, 30), 1),
    avg_pool2d("many-cells-padded", (1, 12, 9, 17), (12, 7), (5, 2), pad=(3, 2), count=False),
    *(
        adaptive_avg_pool2d(f"{h}x{w}x{c}-to-{p}x{q}", (n, h, w, c), (p, q))
        for n, h, w, c, p, q in (
            (2, 7, 7, 5, 3, 3),
            (1, 5, 9, 17, 2, 4),
            (2, 3, 2, 9, 7, 5),
            (1, 1, 1, 1, 1, 1),
            (1, 6, 8, 3, 3, 4),
            (1, 23, 19, 6, 2, 2),
            (0, 5, 4, 2, 3, 3),
            (2, 5, 4, 0, 3, 3),
        )
    ),
    adaptive_avg_pool2d("nan", (1, 7, 7, 9), (3, 3), fill=holding(NAN), tags=NO_GRADCHECK),
    avg_pool2d("nan", (1, 6, 8, 3), 3, 2, 1, fill=holding(NAN), tags=NO_GRADCHECK),
]

# interpolate, adaptive_max_pool2d: x (N, H, W, C)


SIZES = [
    ("twice", (2, 3, 4, 5), (6, 8)),
    ("half", (1, 6, 8, 17), (3, 4)),
    ("odd", (2, 5, 7, 3), (8, 4)),
    ("one-channel", (2, 4, 5, 1), (9, 11)),
    ("four-channels", (1, 5, 3, 4), (4, 7)),
    ("from-one-pixel", (2, 1, 1, 6), (3, 5)),
    ("to-one-pixel", (2, 3, 5, 9), (1, 1)),
    ("far-fewer-columns", (1, 3, 40, 2), (4, 3)),
    ("same", (1, 3, 4, 2), (3, 4)),
    ("batch-0", (0, 3, 4, 2), (5, 6)),
    ("wide", (1, 3, 2, 70), (4, 5)),
]

RESIZE = [
    *(interpolate(*row, mode) for row in SIZES for mode in ("nearest", "nearest-exact", "bilinear")),
    *(interpolate(f"aligned-{name}", *row, "bilinear", True) for name, *row in SIZES),
    interpolate("factor", (2, 5, 4, 3), (7, 6), "bilinear", factor=1.5),
    interpolate("factor", (2, 5, 4, 3), (7, 6), "nearest", factor=1.5),
    *(
        interpolate(
            f"nan-inf-{align}", (1, 4, 5, 9), (7, 9), "bilinear", align, fill=holding(NAN, INF), tags=NO_GRADCHECK
        )
        for align in (False, True)
    ),
    *(adaptive_max_pool2d(*row) for row in SIZES),
    adaptive_max_pool2d("nan", (2, 7, 5, 9), (3, 3), fill=holding(NAN), tags=NO_GRADCHECK),
    adaptive_max_pool2d("ties", (2, 7, 5, 9), (3, 4), fill=few_values, tags=NO_GRADCHECK),
    adaptive_max_pool2d("minus-inf", (1, 5, 4, 3), (2, 3), fill=lambda *s: constant(-INF, *s), tags=NO_GRADCHECK),
]

# conv2d_max_pool2d: as conv2d, with a pool_size


CONV_POOL = [
    conv2d_max_pool2d("2x2", (2, 6, 8, 1), (8, 3, 3, 1), pad=1, act="relu"),
    conv2d_max_pool2d("odd", (2, 7, 9, 3), (17, 3, 3, 3), pad=1),
    *(
        conv2d_max_pool2d(f"one-channel-{r}x{s}", (2, 11, 12, 1), (9, r, s, 1), act="relu")
        for r, s in ((2, 4), (5, 7), (1, 3))
    ),
    conv2d_max_pool2d("three-channels", (2, 9, 10, 3), (20, 3, 5, 3), pad=1, act="relu"),
    conv2d_max_pool2d("narrow", (2, 8, 5, 2), (7, 3, 3, 2), bias=False, act="relu"),
    conv2d_max_pool2d("stride-down", (2, 12, 9, 1), (19, 3, 3, 1), stride=(2, 1), dilation=(2, 1), pad=1, act="tanh"),
    *(conv2d_max_pool2d(f"{k}-outputs", (1, 9, 12, 1), (k, 5, 5, 1), act="relu") for k in (1, 6, 20, 40)),
    conv2d_max_pool2d("3x2", (2, 9, 8, 2), (5, 2, 2, 2), (3, 2), act="tanh"),
    conv2d_max_pool2d("1x1", (1, 4, 5, 3), (4, 3, 3, 3), 1, bias=False, act="sigmoid"),
    conv2d_max_pool2d("large-window", (1, 20, 20, 1), (3, 3, 3, 1), 17),
    conv2d_max_pool2d("stride", (2, 15, 18, 3), (33, 3, 5, 3), stride=(1, 2), pad=(2, 0, 0, 1), dilation=(2, 1)),
    conv2d_max_pool2d("many-channels", (2, 6, 7, 12), (9, 3, 3, 12), pad=1, act="relu"),
    *(
        conv2d_max_pool2d(
            f"winograd-{n}x{h}x{w}", (n, h, w, 12), (21, 3, 3, 12), pad=1, act=act, method="winograd", tags=WINOGRAD
        )
        for n, h, w, act in (
            (2, 5, 9, None),
            (2, 8, 6, "relu"),
            (2, 6, 7, "tanh"),
            (64, 7, 6, "relu"),
            (128, 6, 3, None),
        )
    ),
    conv2d_max_pool2d("groups", (1, 6, 6, 4), (6, 3, 3, 2), groups=2),
    conv2d_max_pool2d("batch-0", (0, 6, 8, 1), (4, 3, 3, 1)),
    conv2d_max_pool2d("ties", (2, 6, 8, 1), (8, 3, 3, 1), pad=1, fill=lambda *s: constant(1.0, *s), tags=NO_GRADCHECK),
    conv2d_max_pool2d("nan", (2, 6, 8, 1), (9, 3, 3, 1), pad=1, act="relu", fill=holding(NAN), tags=NO_GRADCHECK),
    conv2d_max_pool2d("nan-20-outputs", (2, 6, 8, 2), (20, 3, 3, 2), fill=holding(NAN, INF), tags=NO_GRADCHECK),
    conv2d_max_pool2d("inf", (1, 6, 8, 1), (9, 1, 1, 1), fill=holding(INF, -INF), tags=NO_GRADCHECK),
]

# conv2d_avg_pool2d: lines.h takes up to 6 outputs of at least 16 pixels a row, in windows of 2 x 2


CONV_AVERAGE = [
    *(
        conv2d_avg_pool2d(f"{k}-outputs-{w}-wide", (2, h, w, 1), (k, 3, 3, 1), act=act)
        for k, h, w, act in (
            (1, 4, 18, None),
            (2, 5, 19, "relu"),
            (3, 6, 20, "sigmoid"),
            (4, 7, 21, "tanh"),
            (5, 6, 23, "tanh"),
            (6, 5, 25, "tanh"),
            (7, 6, 18, "tanh"),
            (16, 6, 18, "relu"),
        )
    ),
    conv2d_avg_pool2d("lenet-1", (2, 28, 28, 1), (6, 5, 5, 1), pad=2, act="tanh"),
    conv2d_avg_pool2d("lenet-2", (2, 9, 10, 6), (16, 5, 5, 6), act="tanh"),
    conv2d_avg_pool2d("three-channels", (1, 6, 22, 3), (6, 3, 5, 3), pad=(0, 2, 1, 3), act="relu"),
    conv2d_avg_pool2d("stride-down", (1, 9, 20, 2), (3, 3, 3, 2), stride=(2, 1), pad=1, act="tanh"),
    conv2d_avg_pool2d("dilation", (1, 8, 24, 1), (5, 3, 3, 1), dilation=(2, 3), act="sigmoid"),
    conv2d_avg_pool2d("dilation-down", (1, 8, 20, 2), (5, 3, 2, 2), dilation=(2, 1), bias=False),
    conv2d_avg_pool2d("stride", (1, 9, 33, 1), (4, 3, 3, 1), stride=(1, 2), act="tanh"),
    conv2d_avg_pool2d("padded-over", (1, 3, 17, 1), (2, 2, 2, 1), pad=3, act="tanh"),
    conv2d_avg_pool2d("narrow", (2, 6, 9, 1), (6, 3, 3, 1), act="tanh"),
    conv2d_avg_pool2d("one-row", (2, 3, 19, 1), (6, 3, 3, 1), (1, 2), act="tanh"),
    conv2d_avg_pool2d("3x2", (1, 9, 20, 2), (5, 2, 2, 2), (3, 2), act="tanh"),
    conv2d_avg_pool2d("1x1", (1, 4, 5, 3), (4, 3, 3, 3), 1, bias=False, act="sigmoid"),
    conv2d_avg_pool2d("whole-image", (2, 7, 6, 3), (20, 3, 3, 3), (5, 4)),
    conv2d_avg_pool2d("many-channels", (2, 6, 7, 12), (9, 3, 3, 12), pad=1, act="tanh"),
    conv2d_avg_pool2d("groups", (1, 6, 6, 4), (6, 3, 3, 2), groups=2),
    conv2d_avg_pool2d("batch-0", (0, 6, 18, 1), (4, 3, 3, 1), act="tanh"),
    *(
        conv2d_avg_pool2d(f"{name}-{k}-outputs", (1, 6, 22, 1), (k, 3, 3, 1), act=act, fill=fill, tags=NO_GRADCHECK)
        for k, act in ((2, None), (6, "relu"), (6, "tanh"), (9, "relu"))
        for name, fill in ((f"nan-{act}", holding(NAN)), (f"inf-{act}", holding(INF, -INF)))
    ),
]

# conv2d_batch_norm: as conv2d, with norm_weight, norm_bias, mean and var (K,), and a residual like y or None


CONV_NORM = [
    conv2d_batch_norm("plain", (2, 5, 6, 9), (7, 3, 3, 9), pad=1),
    *(conv2d_batch_norm(a, (1, 5, 4, 9), (19, 3, 2, 9), (1, 3, 3, 19), act=a) for a in ACTIVATIONS),
    conv2d_batch_norm("bias", (2, 5, 6, 9), (16, 3, 3, 9), (2, 3, 4, 16), bias=True, act="relu"),
    conv2d_batch_norm("bias-no-affine", (1, 5, 6, 9), (16, 3, 3, 9), affine=False, bias=True),
    conv2d_batch_norm("no-affine", (1, 6, 5, 9), (5, 1, 1, 9), (1, 3, 3, 5), affine=False, stride=2, act="relu"),
    conv2d_batch_norm("groups", (2, 5, 5, 4), (6, 3, 3, 2), (2, 3, 3, 6), groups=2, act="relu"),
    conv2d_batch_norm("dilation", (1, 8, 9, 2), (3, 3, 3, 2), dilation=(2, 3), act="tanh"),
    conv2d_batch_norm("pointwise", (1, 5, 7, 20), (35, 1, 1, 20), (1, 5, 7, 35), act="relu"),
    conv2d_batch_norm("depthwise", (2, 6, 7, 19), (19, 3, 3, 1), (2, 6, 7, 19), groups=19, pad=1, act="relu"),
    conv2d_batch_norm("many-pixels", (2, 13, 17, 9), (33, 3, 3, 9), (2, 13, 17, 33), pad=1, act="relu"),
    *(
        conv2d_batch_norm(f"direct-{k}", (2, 9, 13, 3), (k, 5, 3, 3), (2, 7, 7, k), stride=(1, 2), pad=1, act="relu",
                          method="direct")
        for k in (1, 6, 8, 21)
    ),
    *(
        conv2d_batch_norm(f"winograd-{h}x{w}-{a}", (n, h, w, 12), (21, 3, 3, 12), (n, h, w, 21), pad=1, act=a,
                          method="winograd", tags=WINOGRAD)
        for n, h, w, a in ((2, 5, 9, None), (2, 8, 6, "relu"), (2, 6, 7, "tanh"), (30, 7, 6, "relu"))
    ),
    conv2d_batch_norm("winograd-no-residual", (1, 9, 9, 16), (16, 3, 3, 16), pad=1, act="relu", method="winograd",
                      tags=WINOGRAD),
    conv2d_batch_norm("batch-0", (0, 6, 8, 9), (4, 3, 3, 9), (0, 4, 6, 4), act="relu"),
    conv2d_batch_norm("nan", (1, 6, 7, 9), (5, 3, 3, 9), (1, 4, 5, 5), act="relu", added=holding(NAN, INF, -INF),
                      tags=NO_GRADCHECK),
]  # fmt: skip

# Elementwise: x of any shape


POINTWISE = [
    *elementwise("relu", (0,)),
    *elementwise("leaky_relu", (0,), negative_slope=0.01),
    *elementwise("leaky_relu", (0,), negative_slope=-2.0),
    *elementwise("elu", (0,), alpha=1.0),
    *elementwise("elu", (0,), alpha=0.7),
    *elementwise("gelu", tail=-2, approximate="none"),
    *elementwise("gelu", approximate="tanh"),
    *elementwise("silu"),
    *elementwise("sigmoid"),
    *elementwise("tanh"),
    *elementwise("softplus", beta=1.0, threshold=20.0),
    *elementwise("softplus", (0.5,), beta=3.0, threshold=1.5),
    *elementwise("hardswish", (-3, 3)),
    *elementwise("hardtanh", (-1, 2), shapes=[(37,)], min_val=-1.0, max_val=2.0),
    *elementwise("hardsigmoid", (-3, 3), shapes=[(37,)]),
    *elementwise("selu", (0,), shapes=[(37,)]),
    *elementwise("celu", (0,), shapes=[(37,)], alpha=0.7),
    *elementwise("mish"),
    *elementwise("softsign", shapes=[(37,)]),
    *elementwise("logsigmoid", shapes=[(37,)]),
    *elementwise("threshold", (0.5,), shapes=[(37,)], threshold=0.5, value=-2.0),
    *elementwise("hardshrink", (-0.5, 0.5), shapes=[(37,)], lambd=0.5),
    *elementwise("softshrink", (-0.5, 0.5), shapes=[(37,)], lambd=0.5),
]

ELEMENTWISE = [
    *POINTWISE,
    *(
        Case("prelu", shape_name(shape), (away_from((0,), *shape), between(0.1, 0.5, shape[-1])), {})
        for shape in ((5,), (3, 4), (2, 3, 2, 5), (0, 3))
    ),
    Case("prelu", "one", (away_from((0,), 2, 3, 4), between(0.1, 0.5, 1)), {}),
    Case("prelu", "many-rows", (away_from((0,), 700, 3), between(0.1, 0.5, 3)), {}),
    Case("prelu", "wide", (away_from((0,), 3, 259), between(0.1, 0.5, 259)), {}),
    Case("prelu", "scalar", (away_from((0,)), between(0.1, 0.5, 1)), {}),
    Case("prelu", "nan", (holding(NAN, INF, -INF)(6, 8), between(0.1, 0.5, 8)), {}, NO_GRADCHECK),
    Case("glu", "33-columns", (normal(5, 66),), {"axis": 1}),
    Case("glu", "nan", (holding(NAN, INF, -INF)(6, 8),), {"axis": 1}, NO_GRADCHECK),
    *(
        Case("glu", shape_name(shape), (normal(*shape),), {"axis": axis})
        for shape, axis in (((6,), 0), ((3, 4), -1), ((4, 3), 0), ((2, 6, 3), 1), ((0, 4), 1))
    ),
    *(dropout(shape_name(shape), *shape) for shape in SHAPES),
    dropout("p-0", 20, p=0.0),
    dropout("p-1", 20, p=1.0),
    dropout("p-small", 500, p=1e-2, seed=7),
    dropout("p-tiny", 20, p=1e-12, seed=7),
    dropout("p-near-1", 500, p=0.99, seed=2**32 + 5),
    dropout("seed-0", 40, p=0.3, seed=0),
    dropout("seed-over-int64", 40, p=0.3, seed=2**63 + 11),
    dropout("largest-seed", 40, p=0.3, seed=2**64 - 1),
    dropout("nan", 300, p=0.3, fill=holding(NAN, INF, -INF), tags=EXTREME),
]

# softmax, log_softmax: x of any shape


SOFTMAX = [
    *softmaxes("last-axis", normal(4, 7), -1),
    *softmaxes("first-axis", normal(5, 3), 0),
    *softmaxes("middle-axis", normal(2, 5, 3), 1),
    *softmaxes("1d", normal(9), 0),
    *softmaxes("one-class", normal(4, 1), 1),
    *softmaxes("batch-0", normal(0, 4), 1),
    *softmaxes("33-classes", normal(17, 33, scale=3), 1),
    *(row for n in (2, 8, 15, 16, 21, 32) for row in softmaxes(f"{n}-classes", normal(19, n), 1)),
    *softmaxes("259-classes", normal(3, 259), 1),
    *softmaxes("large-offset", normal(4, 7, offset=1e4), 1, NO_GRADCHECK),
    *softmaxes("far-apart", normal(4, 7, scale=1e4), 1, NO_GRADCHECK),
    *softmaxes("masked", holding(-INF)(5, 12), 1, NO_GRADCHECK),
    *softmaxes("all-masked", exactly([-INF, -INF, -INF], [0, 1, -INF], [1, 2, 3]), 1, NO_GRADCHECK),
    *softmaxes("nan-inf", exactly([NAN, 1, 2], [0, 1, INF], [1, 2, 3], [-INF, NAN, INF]), 1, NO_GRADCHECK),
]

# Losses: cross_entropy logits (M, C), target (M,), weight (C,); the others x, target (and weights) of one shape


CROSS_ENTROPY = [
    *cross_entropy("plain", 5, 4),
    *cross_entropy("weight", 5, 4, weight=between(0.5, 2, 4)),
    *cross_entropy("smoothing", 5, 4, smoothing=0.1),
    *cross_entropy("smoothing-1", 5, 4, smoothing=1.0),
    *cross_entropy("ignored", 7, 4, labels(7, 4, -100)),
    *cross_entropy("all-options", 7, 4, labels(7, 4, 2), between(0.5, 2, 4), 0.2, 2),
    *cross_entropy("one-class", 3, 1),
    *cross_entropy("one-row", 1, 10),
    *cross_entropy("33-classes", 19, 33, smoothing=0.1),
    *cross_entropy("21-classes", 19, 21, smoothing=0.1),
    *cross_entropy("zero-weight", 6, 3, weight=exactly(0, 1, 2)),
    *cross_entropy("batch-0", 0, 4),
    *cross_entropy("all-ignored", 3, 4, whole(-100, -100, -100), tags=NO_GRADCHECK),
    *cross_entropy("large-offset", 5, 4, logits=normal(5, 4, offset=1e4, scale=10), tags=NO_GRADCHECK),
    *cross_entropy("masked", 4, 3, whole(0, 1, 2, 0), tags=NO_GRADCHECK,
                   logits=exactly([0, -INF, 1], [-INF, 1, 0], [5, 1, -INF], [1, 2, 3])),
    *cross_entropy("nan-rows", 3, 3, whole(0, 1, -100), tags=NO_GRADCHECK,
                   logits=exactly([0, NAN, 1], [2, 1, 0], [NAN, 1, INF])),
]  # fmt: skip


LOSS = [
    *CROSS_ENTROPY,
    *differences("mse"),
    *differences("l1"),
    *differences("huber", delta=1.5),
    *(row for shape in LOSS_SHAPES for row in bce(shape_name(shape), shape)),
    *bce("weight", (4, 5), weight=True),
    *bce("pos-weight", (4, 5), pos_weight=True),
    *bce("both", (4, 5), True, True),
    *bce("extreme", (8,), x=exactly(-INF, -1e4, -100, -0.0, 0, 100, 1e4, INF), target=exactly(0, 0, 0, 0, 1, 1, 1, 1),
         tags=EXTREME),
    *bce("wrong", (6,), x=exactly(-INF, -1e4, -100, 100, 1e4, INF), target=exactly(1, 1, 1, 0, 0, 0), tags=EXTREME),
]  # fmt: skip

# batch_norm: x (..., C), weight, bias, mean, var (C,), residual like x; layer_norm and rms_norm: x (M, C), weight (and
# bias) (C,); group_norm: x (N, ..., C), weight and bias (C,)


NORM = [
    batch_norm("plain", 9, 5),
    batch_norm("no-affine", 9, 5, affine=False),
    batch_norm("given", 9, 5, statistics=True),
    batch_norm("given-no-affine", 9, 5, affine=False, statistics=True),
    batch_norm("one-row", 1, 4, eps=0.1),
    batch_norm("one-column", 12, 1),
    batch_norm("tiles", 37, 33),
    batch_norm("many-rows", 700, 3),
    batch_norm("batch-0", 0, 4),
    batch_norm("batch-0-given", 0, 4, statistics=True),
    batch_norm("shifted", 50, 3, x=shifted, tags=NO_GRADCHECK),
    batch_norm("constant", 6, 3, x=lambda *s: constant(0.5, *s), tags=NO_GRADCHECK),
    batch_norm("nan", 8, 20, x=holding(NAN), tags=NO_GRADCHECK),
    batch_norm("given-nan", 8, 20, statistics=True, x=holding(NAN, INF, -INF), tags=NO_GRADCHECK),
    batch_norm("given-nan-relu", 8, 20, statistics=True, act="relu", x=holding(NAN, INF), tags=NO_GRADCHECK),
    batch_norm("image", 3, 5, lead=(2, 4)),
    *(batch_norm(a, 9, 5, act=a) for a in ACTIVATIONS),
    *(batch_norm(f"residual-{a}", 9, 5, residual=True, act=a) for a in (None, *ACTIVATIONS)),
    batch_norm("residual-no-affine", 7, 8, affine=False, residual=True, act="relu"),
    batch_norm("given-residual-relu", 9, 5, statistics=True, residual=True, act="relu"),
    batch_norm("given-relu", 9, 65, statistics=True, act="relu"),
    batch_norm("relu-image", 7, 17, lead=(2, 3), act="relu"),
    batch_norm("residual-relu-wide", 70, 100, residual=True, act="relu"),
    batch_norm("relu-blocks", 2100, 5, act="relu"),
    batch_norm("shifted-relu", 3000, 2, x=shifted, act="relu", tags=NO_GRADCHECK),
    batch_norm("first-row-far", 300, 3, x=first_row_far, tags=NO_GRADCHECK),
    batch_norm("nan-residual-relu", 8, 20, residual=True, act="relu", x=holding(NAN), tags=NO_GRADCHECK),
    batch_norm("batch-0-residual-relu", 0, 4, residual=True, act="relu"),
    layer_norm("plain", 9, 5),
    layer_norm("no-affine", 9, 5, False, False),
    layer_norm("no-bias", 9, 5, bias=False),
    layer_norm("one-row", 1, 7),
    layer_norm("one-column", 4, 1, eps=0.1),
    layer_norm("tiles", 13, 33),
    layer_norm("wide", 3, 700),
    layer_norm("many-rows", 300, 4),
    layer_norm("batch-0", 0, 4),
    layer_norm("shifted", 5, 50, x=shifted, tags=NO_GRADCHECK),
    layer_norm("constant", 5, 8, x=lambda *s: constant(0.5, *s), tags=NO_GRADCHECK),
    layer_norm("nan", 20, 8, x=holding(NAN), tags=NO_GRADCHECK),
    rms_norm("plain", 9, 5),
    rms_norm("no-weight", 9, 5, False),
    rms_norm("one-row", 1, 7),
    rms_norm("one-column", 4, 1, eps=0.1),
    rms_norm("tiles", 33, 33),
    rms_norm("wide", 3, 700),
    rms_norm("many-rows", 300, 4),
    rms_norm("batch-0", 0, 4),
    rms_norm("shifted", 5, 50, x=shifted, tags=NO_GRADCHECK),
    rms_norm("zeros", 5, 8, x=lambda *s: constant(0.0, *s), tags=NO_GRADCHECK),
    rms_norm("nan", 20, 8, x=holding(NAN, INF), tags=NO_GRADCHECK),
    group_norm("plain", (2, 3, 4, 6), 3),
    group_norm("no-affine", (2, 3, 4, 6), 2, False, False),
    group_norm("no-bias", (3, 7, 6), 2, bias=False),
    group_norm("one-group", (2, 5, 3, 7), 1),
    group_norm("one-channel-each", (2, 13, 5), 5),
    group_norm("rows", (9, 8), 2),
    group_norm("many-rows", (300, 6), 3),
    group_norm("two-numbers", (3, 8), 4, eps=0.1),
    group_norm("tiles", (2, 5, 7, 33), 3),
    group_norm("wide", (2, 3, 280), 4),
    group_norm("one-image", (1, 21, 20, 24), 6),
    group_norm("batch-0", (0, 3, 4, 6), 3),
    group_norm("pixels-0", (2, 0, 4, 6), 3),
    group_norm("shifted", (2, 30, 6), 2, x=shifted, tags=NO_GRADCHECK),
    group_norm("constant", (2, 30, 6), 2, x=lambda *s: constant(1000.1, *s), tags=NO_GRADCHECK),
    group_norm("first-pixels-far", (2, 300, 6), 2, x=first_pixels_far, tags=NO_GRADCHECK),
    group_norm("nan", (6, 8, 8), 4, x=holding(NAN), tags=NO_GRADCHECK),
]

# embedding: indices (...), weight (V, D)


EMBEDDING = [
    embedding("1d", (7,), 5, 3),
    embedding("2d", (3, 4), 9, 17),
    embedding("scalar", (), 5, 3),
    embedding("padding", (20,), 4, 3, padding_idx=1, tags=NO_GRADCHECK),
    embedding("one-row", (6,), 1, 33),
    embedding("repeated", (90,), 2, 5),
    embedding("empty", (0, 3), 4, 3),
]

# Cells: x (B, I), h (and c) (B, Hd), weight_ih (G Hd, I), weight_hh (G Hd, Hd), biases (G Hd,)


RECURRENT = [
    *cells("rnn_cell", "tanh-", nonlinearity="tanh"),
    *cells("rnn_cell", "relu-", nonlinearity="relu"),
    *cells("lstm_cell"),
    *cells("gru_cell"),
]

SEQUENCES = [
    *sequences("rnn", "tanh-", nonlinearity="tanh"),
    *sequences("rnn", "relu-", nonlinearity="relu"),
    *sequences("lstm"),
    *sequences("gru"),
    # More units than one launch of the CUDA kernels takes through all steps.
    sequence("rnn", "257-units", 3, 5, 3, 257, lengths=(3, 1, 2, 3, 1), nonlinearity="relu", tags=NO_GRADCHECK),
    sequence("lstm", "129-units", 2, 3, 3, 129, lengths=(1, 2, 2), layers=2, both=True, tags=NO_GRADCHECK),
    sequence("gru", "148-units", 3, 3, 3, 148, lengths=(3, 1, 2), both=True, tags=NO_GRADCHECK),
]

# attention: q (B, H, T, D), k and v (B, Hk, S, D), mask (B or 1, H or 1, T or 1, S) or None. Blocks are 48 x 64.

ATTENTION = [
    attention("plain", (2, 3, 5, 4), (2, 3, 5, 4)),
    attention("heads-last", (2, 5, 3, 4), (2, 7, 3, 4), last=True),
    attention("causal", (2, 2, 9, 3), (2, 2, 9, 3), causal=True),
    attention("causal-more-keys", (1, 2, 5, 3), (1, 2, 8, 3), causal=True),
    attention("causal-fewer-keys", (1, 2, 8, 3), (1, 2, 5, 3), causal=True),
    attention("added", (2, 2, 4, 3), (2, 2, 6, 3), normal(2, 2, 4, 6)),
    attention("added-to-all", (2, 2, 4, 3), (2, 2, 6, 3), normal(1, 1, 4, 6), causal=True),
    attention("hidden", (2, 2, 4, 3), (2, 2, 6, 3), hiding(2, 1, 4, 6, rows=2)),
    attention("padding", (3, 2, 4, 3), (3, 2, 6, 3), hiding(3, 1, 1, 6), last=False),
    attention("groups", (2, 4, 5, 3), (2, 2, 6, 3)),
    attention("groups-heads-last", (2, 5, 6, 3), (2, 6, 2, 3), last=True, causal=True),
    attention("dropout", (2, 2, 6, 3), (2, 2, 7, 3), dropout=0.4),
    attention("dropout-causal-groups", (2, 4, 6, 3), (2, 2, 6, 3), causal=True, dropout=0.4),
    attention("sizes-1", (1, 1, 1, 1), (1, 1, 1, 1)),
    attention("queries-0", (1, 2, 0, 3), (1, 2, 4, 3)),
    attention("keys-0", (1, 2, 3, 4), (1, 2, 0, 4)),
    attention("batch-0", (0, 2, 3, 4), (0, 2, 3, 4)),
    attention("features-0", (1, 2, 3, 0), (1, 2, 4, 0)),
    attention("far-apart", (1, 1, 4, 3), (1, 1, 5, 3), scale=300.0, tags=NO_GRADCHECK),
    attention("nan", (1, 2, 6, 3), (1, 2, 7, 3), x=holding(NAN), tags=NO_GRADCHECK),
    attention("inf", (1, 2, 6, 3), (1, 2, 7, 3), x=holding(INF), tags=NO_GRADCHECK),
    *(Case("self_attention", name, (normal(*shape), mask), {"causal": causal, "scale": 0.6, "dropout": p, "seed": 7})
      for name, shape, mask, causal, p in (
          ("plain", (2, 5, 3, 2, 4), None, False, 0.0), ("causal", (2, 5, 3, 2, 4), None, True, 0.0),
          ("hidden", (2, 5, 3, 2, 3), hiding(2, 1, 5, 5, rows=1), False, 0.0),
          ("dropout", (1, 6, 3, 2, 3), None, True, 0.3), ("steps-0", (2, 0, 3, 1, 4), None, False, 0.0))),
]  # fmt: skip

CASES = [
    *LINEAR,
    *CONV,
    *CONV_TRANSPOSE,
    *POOL,
    *RESIZE,
    *CONV_POOL,
    *CONV_AVERAGE,
    *CONV_NORM,
    *ELEMENTWISE,
    *SOFTMAX,
    *LOSS,
    *NORM,
    *EMBEDDING,
    *RECURRENT,
    *SEQUENCES,
    *ATTENTION,
]

# Optimizer updates: several steps on `size` parameters


STEPS = [
    sgd("plain"),
    sgd("decay", weight_decay=0.1),
    sgd("momentum", momentum=0.9),
    sgd("dampening", momentum=0.9, dampening=0.5, weight_decay=0.1),
    sgd("nesterov", momentum=0.9, nesterov=True, weight_decay=0.1),
    rmsprop("plain"),
    rmsprop("eps-outside", inside=False, eps=1e-3),
    rmsprop("all-options", alpha=0.9, eps=1e-4, weight_decay=0.1, momentum=0.9),
    adam("plain"),
    adam("decay", weight_decay=0.1),
    adam("decoupled", weight_decay=0.1, decoupled=True),
    adam("other-betas", beta1=0.5, beta2=0.9, eps=1e-3),
    sgd("clipped", weight_decay=0.1, grad_scale=0.3),
    sgd("clipped-momentum", momentum=0.9, weight_decay=0.1, grad_scale=0.3),
    sgd("clipped-nesterov", momentum=0.9, nesterov=True, weight_decay=0.1, grad_scale=0.3),
    rmsprop("clipped", weight_decay=0.1, grad_scale=0.3),
    rmsprop("clipped-momentum", weight_decay=0.1, momentum=0.9, grad_scale=0.3),
    adam("clipped", weight_decay=0.1, grad_scale=0.3),
    adam("clipped-decoupled", weight_decay=0.1, decoupled=True, grad_scale=0.3),
    adagrad("plain"),
    adagrad("all-options", eps=1e-3, weight_decay=0.1, grad_scale=0.3),
    nadam("plain"),
    nadam("decay", weight_decay=0.1, grad_scale=0.3),
    nadam("decoupled", weight_decay=0.1, decoupled=True, beta2=0.9, eps=1e-3),
    radam("waits", weight_decay=0.1),
    radam("divides", beta2=0.7, weight_decay=0.1, grad_scale=0.3),
    radam("decoupled", beta2=0.7, weight_decay=0.1, decoupled=True),
    lion("plain"),
    lion("all-options", beta1=0.8, beta2=0.9, weight_decay=0.1, grad_scale=0.3),
    *(
        make(f"size-{size}", size)
        for make in (sgd, rmsprop, adam, adagrad, nadam, radam, lion)
        for size in (0, 1, 16, 259)
    ),
]

# Large enough to be cut into several jobs: compared between 1, 2 and 4 threads, and with the reference

LARGE = [
    linear("large", (600,), 300, 70, act="relu"),
    linear("large-few-rows", (3,), 2000, 700),
    linear("large-long-sums", (20000,), 20, 9, act="tanh"),
    linear("large-long-depth", (8,), 30000, 9),
    matmul("large", (3, 130, 210), (3, 210, 90)),
    conv2d("large", (5, 21, 23, 16), (40, 3, 3, 16), pad=1, act="relu"),
    conv2d("large-small-images", (30, 14, 13, 24), (40, 3, 3, 24), pad=1, act="relu", tags=WINOGRAD),
    conv2d("large-stride", (4, 31, 30, 12), (24, 3, 3, 12), stride=2, pad=1),
    conv2d("large-direct", (26, 28, 31, 2), (48, 3, 3, 2), pad=1, act="relu"),
    conv2d("large-kernels-5x5", (1, 9, 10, 91), (90, 5, 5, 91), pad=2, method="winograd", tags=WINOGRAD),
    conv2d("large-phases", (4, 41, 43, 3), (40, 7, 7, 3), stride=2, pad=3, method="winograd", tags=WINOGRAD),
    conv2d("large-one-channel", (16, 28, 28, 1), (32, 3, 3, 1), pad=1, act="relu"),
    conv2d("large-1x1", (8, 20, 20, 64), (48, 1, 1, 64), False),
    conv2d("large-deep", (2, 9, 9, 150), (130, 3, 3, 150), pad=1),
    conv2d("large-groups", (6, 20, 20, 24), (48, 3, 3, 6), groups=4, pad=1),
    conv2d("large-groups-few", (5, 40, 41, 10), (20, 3, 3, 2), groups=5, pad=1, act="relu"),
    conv2d("large-depthwise", (6, 24, 25, 40), (40, 3, 3, 1), groups=40, pad=1),
    conv2d("large-depthwise-lanes", (5, 32, 31, 217), (217, 3, 3, 1), groups=217, pad=1, act="relu"),
    conv2d("large-depthwise-streamed", (5, 33, 32, 208), (208, 3, 3, 1), groups=208, pad=1, act="relu"),
    conv2d("large-depthwise-stride", (3, 46, 45, 176), (176, 3, 3, 1), groups=176, stride=2, pad=1),
    conv_transpose2d("large", (4, 15, 17, 40), (40, 4, 4, 24), stride=2, pad=1, act="relu"),
    conv_transpose2d("large-few-outputs", (4, 15, 17, 40), (40, 4, 4, 3), stride=2, pad=1),
    conv2d_max_pool2d("large", (16, 28, 29, 1), (32, 3, 3, 1), pad=1, act="relu"),
    conv2d_batch_norm("large", (5, 21, 23, 16), (40, 3, 3, 16), (5, 21, 23, 40), pad=1, act="relu"),
    conv2d_batch_norm(
        "large-winograd", (5, 21, 23, 16), (40, 3, 3, 16), (5, 21, 23, 40), pad=1, method="winograd", tags=WINOGRAD
    ),
    conv2d_batch_norm("large-few-points", (1, 7, 7, 64), (130, 3, 3, 64), (1, 7, 7, 130), pad=1, act="tanh"),
    conv2d_batch_norm("large-direct", (9, 28, 28, 3), (32, 3, 3, 3), pad=1, act="relu"),
    conv2d_max_pool2d("large-small-images", (30, 14, 13, 24), (40, 3, 3, 24), pad=1, act="relu", tags=WINOGRAD),
    conv2d_avg_pool2d("large", (40, 28, 28, 1), (6, 5, 5, 1), pad=2, act="tanh"),
    conv2d_avg_pool2d("large-16-outputs", (20, 14, 14, 6), (16, 5, 5, 6), act="tanh"),
    *(max_pool2d(name, (8, 31, 33, 40), *window) for name, *window in (("large", 2), ("large-overlapping", 3, 2, 1))),
    max_pool2d("large-streamed", (2, 131, 131, 64), 3, 2, 1),
    *(avg_pool2d(name, (8, 31, 33, 40), *window) for name, *window in (("large", 2), ("large-overlapping", 3, 2, 1))),
    *(Case(op, "large", (normal(7, 20011),), options)
      for op, options in {case.op: case.options for case in reversed(POINTWISE)}.items()),
    Case("prelu", "large", (normal(2001, 70), between(0.1, 0.5, 70)), {}),
    Case("prelu", "large-few-columns", (normal(50021, 3), between(0.1, 0.5, 3)), {}),
    Case("prelu", "large-one", (normal(7, 20011), between(0.1, 0.5, 1)), {}),
    Case("glu", "large", (normal(2001, 70),), {"axis": -1}),
    Case("glu", "large-first-axis", (normal(6, 20011),), {"axis": 0}),
    Case("gelu", "large-tanh", (normal(7, 20011),), {"approximate": "tanh"}),
    dropout("large", 7, 20011),
    *softmaxes("large", normal(2001, 70), 1),
    *softmaxes("large-first-axis", normal(301, 501), 0),
    *cross_entropy("large", 5003, 30, labels(5003, 30, -100), between(0.5, 2, 30), 0.1),
    *(Case(op, f"large-{r}", (normal(7, 20011),) * 2, {**options, "reduction": r})
      for (op, options), r in product((("mse", {}), ("l1", {}), ("huber", {"delta": 1.0})), REDUCTIONS)),
    *bce("large", (7, 20011), True, True),
    batch_norm("large", 9001, 17),
    batch_norm("large-given", 9001, 17, statistics=True),
    batch_norm("large-relu", 9001, 33, act="relu"),
    batch_norm("large-residual-relu", 40009, 64, residual=True, act="relu"),
    layer_norm("large", 2503, 60),
    *(interpolate("large", (5, 31, 33, 40), (62, 66), mode) for mode in ("nearest", "bilinear")),
    interpolate("large-smaller", (9, 91, 83, 9), (31, 20), "bilinear"),
    adaptive_avg_pool2d("large", (5, 31, 33, 140), (7, 7)),
    adaptive_max_pool2d("large", (5, 31, 33, 140), (7, 7)),
    rms_norm("large", 2503, 60),
    group_norm("large", (5, 31, 33, 40), 8),
    group_norm("large-images", (2, 131, 67, 20), 5),
    group_norm("large-rows", (5003, 33), 3),
    embedding("large", (300, 70), 500, 40, padding_idx=3),
    cell("rnn_cell", "large", 90, 100, 130, nonlinearity="tanh"),
    cell("lstm_cell", "large", 90, 100, 130),
    cell("gru_cell", "large", 90, 100, 130),
    sequence("rnn", "large", 9, 37, 40, 67, nonlinearity="tanh"),
    sequence("lstm", "large", 9, 37, 40, 67),
    sequence("lstm", "large-batch", 3, 120, 5, 9),
    sequence("lstm", "large-units", 7, 1, 20, 340, reverse=True),
    sequence("lstm", "large-lengths", 40, 6, 20, 70, lengths=(3, 40, 1, 17, 40, 29)),
    sequence("gru", "large", 9, 37, 40, 67),
    sequence("gru", "large-units", 7, 1, 20, 400),
    sequence("gru", "large-both", 13, 17, 40, 67, both=True),
    sequence("gru", "large-layers", 19, 1, 20, 130, layers=3),
    sequence("lstm", "large-both", 13, 17, 40, 67, layers=2, both=True),
    sequence("lstm", "large-both-lengths", 40, 9, 20, 70, both=True, lengths=(3, 40, 1, 17, 40, 29, 8, 30, 2)),
    sequence("lstm", "large-both-units", 7, 1, 20, 340, both=True),
    sequence("lstm", "large-layers", 19, 1, 20, 130, layers=2),
    sequence("lstm", "large-layers-units", 7, 1, 20, 340, layers=2),
    sequence("rnn", "large-layers", 19, 1, 67, 330, layers=2, nonlinearity="relu"),
    attention("large", (2, 3, 150, 32), (2, 3, 200, 32)),
    attention("large-causal", (1, 2, 330, 33), (1, 1, 330, 33), causal=True),
    attention("large-dropout", (1, 2, 130, 64), (1, 2, 130, 64), hiding(1, 1, 130, 130, rows=60), dropout=0.2),
    attention("large-one-head", (1, 1, 100, 16), (1, 1, 1100, 16)),
    Case("self_attention", "large", (normal(2, 120, 3, 2, 40), None),
         {"causal": True, "scale": 0.2, "dropout": 0.1, "seed": 3}),
]  # fmt: skip

LARGE_STEPS = [
    sgd("large", 140001, momentum=0.9, nesterov=True),
    rmsprop("large", 140001, momentum=0.9),
    adam("large", 140001, weight_decay=0.1, decoupled=True),
    adagrad("large", 140001),
    nadam("large", 140001),
    radam("large", 140001, beta2=0.7),
    lion("large", 140001),
]
