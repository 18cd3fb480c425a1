"""What ``auto`` takes: operation -> backend, where that is not Numba. `dlfast info` prints the whole table.

For small arrays the call decides, and Cython's is 2 to 5 us cheaper; for large ones the loop decides.

Microseconds for forward + backward (a step for the optimizers), float32, Numba / Cython, medians of interleaved calls
in one process on 2 cores with AVX2, or where a row says so with AVX-512; `pytest benchmarks` repeats the comparison
for the larger kernels.

| operation | small | large |
|---|---|---|
| linear | 1 x 784 -> 128: 91 / 60 | 256 x 784 -> 128: 1857 / 1425 |
| matmul | 8 x (16, 8) (8, 16): 463 / 234 | 1024^3: 56300 / 46500 |
| relu | 1 k: 12 / 4.2 | 1 M: 281 / 288 |
| leaky_relu | 8 k: 8.6 / 4.4 | 1 M: 377 / 361 |
| dropout | 8 k: 15 / 7 | 1 M: 720 / 435 |
| batch_norm | 64 x 64: 63 / 16 | 25 k x 64: 3600 / 3000 |
| lstm_cell | 20 x 10 -> 20: 118 / 51 | 64 x 128 -> 256: 2149 / 1632 |
| gru_cell | 20 x 10 -> 20: 110 / 42 | 64 x 128 -> 256: 1738 / 1305 |
| rnn_cell | 20 x 10 -> 20: 75 / 27 | 64 x 128 -> 256: 679 / 444 |
| lstm (AVX-512) | 100 x 20 x 10 -> 20: 1373 / 691 | 64 x 32 x 128 -> 256: 39511 / 31399 |
| gru (AVX-512) | 100 x 20 x 10 -> 20: 1687 / 1070 | 64 x 32 x 128 -> 256: 30751 / 25174 |
| rnn (AVX-512) | 100 x 20 x 10 -> 20: 769 / 384 | 64 x 32 x 128 -> 256: 11257 / 8911 |
| interpolate (AVX-512) | 1 x 14 x 14 x 8 -> 28 x 28: 12 / 7 | 8 x 64 x 64 x 3 -> 128 x 128: 840 / 518 |
| adaptive_max_pool2d (AVX-512) | 1 x 14 x 14 x 32 -> 7 x 7: 10 / 8 | 8 x 56 x 56 x 3 -> 7 x 7: 145 / 112 |
| adaptive_max_pool2d (AVX-512) | | 8 x 56 x 56 x 64 -> 7 x 7: 284 / 362 |
| attention (AVX-512) | 8 x 4 x 128 x 32: 885 / 698 | 4 x 8 x 256 x 64: 6194 / 5546 |
| sgd_step | | 420 k: 59 / 57 |
| adam_step | 1 k: 7.2 / 3.6 | 4 M: 2584 / 2514 |
| adagrad_step (AVX-512) | 1 k: 3.0 / 1.4 | 4 M: 2129 / 2102 |
| nadam_step (AVX-512) | 1 k: 5.8 / 2.4 | 4 M: 2873 / 2738 |
| radam_step (AVX-512) | 1 k: 6.7 / 3.4 | 4 M: 2717 / 2649 |
| lion_step (AVX-512) | 1 k: 4.6 / 1.7 | 4 M: 2193 / 2078 |
| tanh | 8 k: 21 / 11 | 1 M: 818 / 721 |
| sigmoid | 8 k: 14 / 8 | 1 M: 670 / 666 |
| elu | 8 k: 33 / 18 | 1 M: 673 / 625 |
| hardswish | 8 k: 17 / 8 | 1 M: 394 / 363 |
| softplus | 8 k: 36 / 25 | 1 M: 1205 / 1213 |
| gelu | 8 k: 22 / 14 | 1 M: 984 / 913 |
| silu | 8 k: 30 / 15 | 1 M: 883 / 717 |
| prelu | 128 x 64: 51 / 11 | 16384 x 64: 2206 / 1747 |
| glu | 128 x 64: 14 / 5.6 | 16384 x 64: 1298 / 1211 |
| celu | 128 x 64: 22 / 8.1 | 16384 x 64: 1880 / 1509 |
| softsign | 128 x 64: 16 / 5.2 | 16384 x 64: 1699 / 1367 |
| logsigmoid | 128 x 64: 25 / 11 | 16384 x 64: 2156 / 1874 |
| threshold | 128 x 64: 13 / 3.6 | 16384 x 64: 1363 / 1196 |
| hardshrink | 128 x 64: 18 / 4.7 | 16384 x 64: 1237 / 1065 |
| softshrink | 128 x 64: 22 / 5.5 | 16384 x 64: 1283 / 1125 |
| group_norm | 1 x 14 x 14 x 32, 8 groups: 67 / 16 | 8 x 56 x 56 x 64, 32 groups: 21700 / 5100 |
| rms_norm | 64 x 32: 9 / 5 | 2048 x 768: 2398 / 2628 |
| embedding (AVX-512) | 61 x 64, 4096 indices: 164 / 34 | 32768 x 256, 4096 indices: 1203 / 1233 |
| layer_norm (AVX-512) | 500 x 45: 40 / 26 | 2048 x 768: 1358 / 1300 |
| mse | 2 k: 32 / 13 | 2048 x 768: 555 / 1216 |
| softmax | 64 x 768: 58 / 34 | 2048 x 768: 1276 / 1115 |
| cross_entropy | 128 x 10: 46 / 22 | 2048 x 768: 1216 / 994 |
| max_pool2d 2 x 2 | 14 x 14 x 32: 42 / 14 | 64 x 28 x 28 x 32: 1224 / 733 |
| max_pool2d 3 x 3, stride 2 | | 8 x 112 x 112 x 64: 7540 / 3940 |
| conv2d, winograd | 1 x 32 x 32 x 16 -> 16: 231 / 134 | 8 x 56 x 56 x 64: 25400 / 18200 |
| conv2d, im2col (3 x 3, stride 2) | | 8 x 56 x 56 x 64 -> 128: 28900 / 25900 |
| conv2d, direct | 1 x 28 x 28 x 1 -> 32: 67 / 42 | 8 x 224 x 224 x 3 -> 32: 28100 / 27400 |
| conv2d, direct, few outputs | 1 x 28 x 28 x 1 -> 6: 98 / 23 | 32 x 28 x 28 x 1 -> 6: 1190 / 540 |
| conv2d_max_pool2d, direct | 1 x 28 x 28 x 1 -> 32: 134 / 59 | 64 x 28 x 28 x 1 -> 32: 1846 / 1306 |
| conv2d_avg_pool2d, few outputs | 1 x 28 x 28 x 1 -> 6: 232 / 35 | 128 x 28 x 28 x 1 -> 6: 4598 / 1122 |
| conv2d_avg_pool2d, direct | 1 x 14 x 14 x 6 -> 16: 208 / 47 | 128 x 14 x 14 x 6 -> 16: 3856 / 1985 |
| conv2d, depthwise | | 8 x 56 x 56 x 128: 9140 / 4660 |
| conv_transpose2d | 1 x 14 x 14 x 128 -> 64: 3580 / 2880 | 8 x 28 x 28 x 64 -> 32: 21300 / 20800 |
| conv_transpose2d, scatter (few outputs) | 1 x 28 x 28 x 32 -> 1: 300 / 170 | 16 x 32 x 32 x 64 -> 3: 6780 / 5400 |
| avg_pool2d 2 x 2 | 14 x 14 x 32: 47 / 6 | 64 x 14 x 14 x 32: 263 / 146 |
"""

_CYTHON = (
    "linear",
    "matmul",
    "conv2d",
    "conv2d_max_pool2d",
    "conv2d_avg_pool2d",
    "conv2d_batch_norm",
    "conv_transpose2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "max_pool2d",
    "adaptive_max_pool2d",
    "interpolate",
    "relu",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "softplus",
    "hardswish",
    "hardtanh",
    "hardsigmoid",
    "selu",
    "celu",
    "mish",
    "softsign",
    "logsigmoid",
    "threshold",
    "hardshrink",
    "softshrink",
    "prelu",
    "glu",
    "dropout",
    "softmax",
    "log_softmax",
    "cross_entropy",
    "batch_norm",
    "group_norm",
    "layer_norm",
    "rms_norm",
    "lstm_cell",
    "gru_cell",
    "rnn_cell",
    "lstm",
    "gru",
    "rnn",
    "attention",
    "self_attention",
    "embedding",
    "sgd_step",
    "rmsprop_step",
    "adam_step",
    "adagrad_step",
    "nadam_step",
    "radam_step",
    "lion_step",
    "square_sum",
    "abs_sum",
)

CHOICE: dict[str, str] = dict.fromkeys(_CYTHON, "cython")

SMALL = 4096  # elements of the first array: with fewer, Cython serves every operation that it has
