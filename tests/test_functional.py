"""functional: bad arguments raise and change nothing, empty batches pass, and conventions agree with PyTorch's."""

import inspect

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast.tensor import Tensor


def z(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


LSTM = (z(8, 3), z(8, 2), z(8), z(8))


LABELS = np.array([0, 1])


BAD = [
    # linear, matmul
    (lambda: F.linear(z(2, 3), z(4, 5)), ValueError, r"must have shape \(O, 3\) to match x \(2, 3\), got \(4, 5"),
    (lambda: F.linear(z(2, 3), z(3)), ValueError, r"weight must have 2 axes \(O, I\), got shape \(3,\)"),
    (lambda: F.linear(z(), z(4, 5)), ValueError, "linear: x must have shape"),
    (lambda: F.linear(z(2, 3), z(4, 3), z(3)), ValueError, r"linear: bias must have shape \(4,\).*got \(3,\)"),
    (lambda: F.linear(z(2, 3), z(4, 3), activation="gelu"), ValueError, "activation must be one of None, 'relu'"),
    (lambda: F.linear(z(2, 3, dtype=int), z(4, 3)), TypeError, "x must be float32 or float64, got int64; cast with"),
    (lambda: F.linear(z(2, 3), z(4, 3, dtype=np.float16)), TypeError, "weight must be float32 or float64, got float16"),
    (lambda: F.linear(np.array([[None] * 3]), z(4, 3)), TypeError, "got object"),
    (lambda: F.linear(z(2, 3), z(4, 3), z(4, dtype=float)), TypeError, "bias must have the dtype of x, float32, got"),
    (lambda: F.linear(z(2, 3, dtype=">f4"), z(4, 3)), TypeError, "x must be float32 or float64"),
    (lambda: F.matmul(z(2, 3), z(4, 2)), ValueError, r"matmul: last axis of a \(2, 3\)"),
    (lambda: F.matmul(z(), z(2, 2)), ValueError, r"matmul: last axis of a \(\)"),
    (lambda: F.matmul(z(2, 3, 4), z(3, 4, 5)), ValueError, "do not broadcast"),
    (lambda: F.matmul(z(2, 3, dtype=int), z(3, 2)), TypeError, "matmul: a must be float32"),
    # conv2d
    (lambda: F.conv2d(z(8, 32, 32, 3), z(16, 3, 3, 4)), ValueError,
     r"conv2d: weight must have shape \(K, R, S, 3\) to match x \(8, 32, 32, 3\) with groups=1, got \(16, 3, 3, 4\)"),
    (lambda: F.conv2d(z(8, 32, 3), z(16, 3, 3, 3)), ValueError, r"conv2d: x must have 4 axes \(N, H, W, C\), got"),
    (lambda: F.conv2d(z(1, 4, 4, 3), z(3, 3, 3)), ValueError, r"weight must have 4 axes \(K, R, S, C/groups\)"),
    (lambda: F.conv2d(z(1, 4, 4, 3), z(4, 3, 3, 3), z(3)), ValueError, r"bias must have shape \(4,\)"),
    (lambda: F.conv2d(z(1, 4, 4, 3), z(4, 3, 3, 1), groups=2), ValueError, "groups=2 must divide the 3 channels"),
    (lambda: F.conv2d(z(1, 4, 4, 4), z(3, 3, 3, 2), groups=2), ValueError, "must divide the 3 output channels"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 5, 3, 1)), ValueError, "kernel spans 5 rows, more than the 4 of x"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), dilation=(1, 2)), ValueError, "kernel spans 5 columns"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 0, 1)), ValueError, "at least one of its kernel columns"),
    (lambda: F.conv2d_max_pool2d(z(1, 4, 4, 1), z(1, 3, 3, 1), pool_size=3), ValueError,
     r"conv2d_max_pool2d: pool_size \(3, 3\) is larger than the 2 x 2 pixels"),
    (lambda: F.conv2d_max_pool2d(z(1, 4, 4, 1), z(1, 3, 3, 1), pool_size=0), ValueError, "pool_size must be at"),
    (lambda: F.conv2d_max_pool2d(z(1, 4, 4, 1), z(1, 3, 3, 2)), ValueError, "pool2d: weight must have shape"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), stride=0), ValueError, "stride must be at least 1, got 0"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), stride=(1, -1)), ValueError, "stride must be at least 1, got -1"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), stride=1.0), TypeError, "stride must be an integer, got 1.0"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), stride=(1, 1, 1)), ValueError, "stride must be one integer or two"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), dilation=0), ValueError, "dilation must be at least 1"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), groups=0), ValueError, "groups must be at least 1"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), groups=True), TypeError, "groups must be an integer, got True"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), padding=-1), ValueError, "padding must be at least 0"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), padding="full"), ValueError, "padding must be one of 'same'"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), padding="same", stride=2), ValueError, "'same' needs stride 1"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), padding=((1, 1), "1")), TypeError, "padding must be an integer"),
    # conv1d, conv_transpose2d
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3, 2)), ValueError,
     r"conv1d: weight must have shape \(K, S, 3\) to match x \(2, 9, 3\) with groups=1, got \(4, 3, 2\)"),
    (lambda: F.conv1d(z(9, 3), z(4, 3, 3)), ValueError, r"conv1d: x must have 3 axes \(N, L, C\), got shape \(9, 3\)"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3)), ValueError, r"weight must have 3 axes \(K, S, C/groups\)"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 5, 3), dilation=3), ValueError,
     r"conv1d: kernel spans 13 steps, more than the 9 of x \(2, 9, 3\) with padding \(0, 0\)"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 0, 3)), ValueError, "at least one of its kernel steps"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3, 3), stride=(1, 1)), TypeError, "conv1d: stride must be an integer"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3, 3), z(3)), ValueError, r"conv1d: bias must have shape \(4,\)"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3, 3), stride=2, padding="same"), ValueError, "'same' needs stride 1, got stri"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3, 3), padding=(1, 1, 1)), ValueError, "padding must be one integer or two"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3, 3), padding="past"), ValueError, "'valid', 'causal', got 'past'"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3, 3), padding="causal", dilation=2**20), ValueError, "more than 1048576"),
    (lambda: F.conv2d(z(1, 4, 4, 1), z(1, 3, 3, 1), padding="causal"), ValueError, "'valid', got 'causal'"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3, 3), method="winograd"), ValueError, "conv1d: method 'winograd' needs a k"),
    (lambda: F.conv1d(z(2, 9, 3), z(4, 3, 3), activation="elu"), ValueError, "conv1d: activation must be one of"),
    (lambda: F.conv_transpose2d(z(1, 4, 4, 3), z(2, 3, 3, 4)), ValueError,
     r"conv_transpose2d: weight must have shape \(3, R, S, O/groups\) to match x \(1, 4, 4, 3\), got \(2, 3, 3, 4\)"),
    (lambda: F.conv_transpose2d(z(4, 4, 3), z(3, 3, 3, 4)), ValueError, r"x must have 4 axes \(N, H, W, I\)"),
    (lambda: F.conv_transpose2d(z(1, 4, 4, 3), z(3, 3, 3)), ValueError, r"weight must have 4 axes \(I, R, S, O/gr"),
    (lambda: F.conv_transpose2d(z(1, 4, 4, 3), z(3, 3, 3, 4), z(3)), ValueError, r"bias must have shape \(4,\)"),
    (lambda: F.conv_transpose2d(z(1, 4, 4, 3), z(3, 3, 3, 4), groups=2), ValueError, "groups=2 must divide the 3 ch"),
    (lambda: F.conv_transpose2d(z(1, 4, 4, 3), z(3, 3, 3, 4), padding="same"), TypeError, "padding must be an integer"),
    (lambda: F.conv_transpose2d(z(1, 4, 4, 3), z(3, 3, 3, 4), padding=3), ValueError, r"padding \(3, 3\) cuts off all"),
    (lambda: F.conv_transpose2d(z(1, 4, 4, 3), z(3, 3, 3, 4), None, 2, 0, 2), ValueError,
     r"output_padding must be smaller than stride \(2, 2\) or dilation \(1, 1\), got \(2, 2\)"),
    (lambda: F.conv_transpose2d(z(1, 0, 4, 3), z(3, 3, 3, 4)), ValueError, "at least one of their rows"),
    (lambda: F.conv_transpose2d(z(1, 4, 4, 3, dtype=int), z(3, 3, 3, 4)), TypeError, "x must be float32 or float64"),
    # pools
    (lambda: F.max_pool2d(z(4, 4, 1), 2), ValueError, r"max_pool2d: x must have 4 axes"),
    (lambda: F.max_pool2d(z(1, 4, 4, 1), 5), ValueError, r"max_pool2d: kernel_size \(5, 5\).*is larger than x"),
    (lambda: F.max_pool2d(z(1, 4, 4, 1), 2, padding=2), ValueError, "padding must be at most half"),
    (lambda: F.max_pool2d(z(1, 4, 4, 1), 2, stride=0), ValueError, "stride must be at least 1"),
    (lambda: F.max_pool2d(z(1, 4, 4, 1, dtype=np.uint8), 2), TypeError, "got uint8"),
    (lambda: F.max_pool1d(z(1, 4, 4, 1), 2), ValueError, r"x must have 3 axes \(N, L, C\)"),
    (lambda: F.max_pool1d(z(1, 4, 1), (2, 2)), TypeError, "kernel_size must be an integer"),
    (lambda: F.avg_pool2d(z(1, 4, 4, 1), 0), ValueError, "kernel_size must be at least 1"),
    (lambda: F.adaptive_avg_pool2d(z(1, 4, 4, 1), 0), ValueError, "output_size must be at least 1"),
    (lambda: F.adaptive_avg_pool2d(z(1, 0, 4, 1), 1), ValueError, "at least one row and column"),
    # elementwise, softmax
    (lambda: F.relu(z(2, dtype=int)), TypeError, "relu: x must be float32 or float64, got int64"),
    (lambda: F.gelu(z(2), approximate="erf"), ValueError, "approximate must be one of 'none', 'tanh', got 'erf'"),
    (lambda: F.elu(z(2), alpha="1"), TypeError, "alpha must be a number"),
    (lambda: F.softplus(z(2), beta=0), ValueError, r"beta must be in \(0, inf\), got 0"),
    (lambda: F.dropout(z(2), p=1.5), ValueError, r"dropout: p must be in \[0, 1\], got 1.5"),
    (lambda: F.dropout(z(2), p=-0.1), ValueError, "p must be in"),
    (lambda: F.dropout(z(2), p=float("nan")), ValueError, "p must be in"),
    (lambda: F.dropout(z(2), mode="none"), ValueError, "mode must be one of 'inverted', 'notes'"),
    (lambda: F.softmax(z(2, 3), axis=2), ValueError, r"axis must be in -2..1 for x \(2, 3\), got 2"),
    (lambda: F.log_softmax(z(2, 3), axis=0.5), TypeError, "axis must be an integer"),
    # embedding
    (lambda: F.embedding(np.array([0, 3]), z(3, 2)), ValueError, r"indices must be in 0..2, got 3"),
    (lambda: F.embedding(np.array([-1, 0]), z(3, 2)), ValueError, r"indices must be in 0..2, got -1"),
    (lambda: F.embedding(z(2), z(3, 2)), TypeError, "indices must be integers, got float32"),
    (lambda: F.embedding(LABELS, z(3)), ValueError, "weight must have 2 axes"),
    (lambda: F.embedding(LABELS, z(3, 2), padding_idx=3), ValueError, "padding_idx must be in -3..2, got 3"),
    (lambda: F.one_hot(np.array([0, 4]), 4), ValueError, "labels must be in 0..3, got 4"),
    # losses
    (lambda: F.cross_entropy(z(2, 3), np.array([0, 3])), ValueError, "target must be in 0..2, got 3"),
    (lambda: F.cross_entropy(z(2, 3), np.array([0, -1])), ValueError, "target must be in 0..2, got -1"),
    (lambda: F.cross_entropy(z(2, 3), np.array([0, np.nan])), TypeError, "must be integers, got float64 with NaN"),
    (lambda: F.cross_entropy(z(2, 3), z(2)), TypeError, r"got float32; cast with target.astype\(np.int64\)"),
    (lambda: F.cross_entropy(z(2, 3), np.zeros((2, 1), int)), ValueError, r"target must have shape \(2,\)"),
    (lambda: F.cross_entropy(z(2, 3), LABELS, z(2)), ValueError, r"weight must have shape \(3,\)"),
    (lambda: F.cross_entropy(z(2, 3), LABELS, reduction="avg"), ValueError, "reduction must be one of 'mean'"),
    (lambda: F.cross_entropy(z(2, 3), LABELS, label_smoothing=1.5), ValueError, r"label_smoothing must be in \[0, 1\]"),
    (lambda: F.cross_entropy(z(2, 3), LABELS, ignore_index=0.5), TypeError, "ignore_index must be an integer"),
    (lambda: F.cross_entropy(z(2, 0), LABELS), ValueError, "at least one class"),
    (lambda: F.cross_entropy(z(2, 3, dtype=int), LABELS), TypeError, "logits must be float32"),
    (lambda: F.nll_loss(z(2, 3), np.array([0, 5])), ValueError, "target must be in 0..2, got 5"),
    (lambda: F.mse_loss(z(2, 3), z(2)), ValueError, r"mse_loss: target must have shape \(2, 3\) like x, got \(2,\)"),
    (lambda: F.l1_loss(z(2), z(2, dtype=int)), TypeError, "l1_loss: target must be float32"),
    (lambda: F.huber_loss(z(2), z(2), delta=0), ValueError, "delta must be in"),
    (lambda: F.binary_cross_entropy(z(2) + 2, z(2)), ValueError, r"x must hold probabilities in \[0, 1\], got 2.0"),
    (lambda: F.binary_cross_entropy(z(2), z(2) + np.float32("nan")), ValueError, "target must hold probabilities"),
    (lambda: F.binary_cross_entropy_with_logits(z(2), z(2), z(3)), ValueError, r"weight must broadcast to x \(2,\)"),
    # normalisation
    (lambda: F.batch_norm(z(4), training=True), ValueError, r"x must have shape \(N, ..., C\)"),
    (lambda: F.batch_norm(z(4, 3), z(2), z(2)), ValueError, r"running_mean must have shape \(3,\)"),
    (lambda: F.batch_norm(z(4, 3), z(3), None), ValueError, "give running_mean and running_var, or neither"),
    (lambda: F.batch_norm(z(1, 3), training=True), ValueError, "more than one value a channel"),
    (lambda: F.batch_norm(z(4, 3), eps=0), ValueError, "eps must be in"),
    (lambda: F.batch_norm(z(4, 3), momentum=1.5), ValueError, "momentum must be in"),
    (lambda: F.layer_norm(z(8, 64), 64, z(32)), ValueError,
     r"layer_norm: weight must have shape \(64,\) to match x \(8, 64\), got \(32,\)"),
    (lambda: F.layer_norm(z(8, 64), 32), ValueError, r"last axes of x must be normalized_shape \(32,\)"),
    (lambda: F.layer_norm(z(64), (8, 64)), ValueError, "normalized_shape"),
    # recurrent
    (lambda: F.lstm_cell(z(1, 3), z(1, 2), *LSTM), TypeError, r"state must be the pair \(h, c\)"),
    (lambda: F.lstm_cell(z(1, 3), (z(1, 2), z(1, 3)), *LSTM), ValueError, r"c must have shape \(1, 2\) like h"),
    (lambda: F.lstm_cell(z(1, 4), (z(1, 2), z(1, 2)), *LSTM), ValueError, r"weight_ih must have shape \(8, 4\)"),
    (lambda: F.lstm_cell(z(3), (z(1, 2), z(1, 2)), *LSTM), ValueError, r"x must have 2 axes \(B, I\)"),
    (lambda: F.lstm_cell(z(2, 3), (z(1, 2), z(1, 2)), *LSTM), ValueError, r"h must have shape \(2, Hd\)"),
    (lambda: F.gru_cell(z(1, 3), z(1, 2), z(6, 3), z(6, 3)), ValueError, r"weight_hh must have shape \(6, 2\)"),
    (lambda: F.gru_cell(z(1, 3), z(1, 2), z(6, 3), z(6, 2), z(5)), ValueError, r"bias_ih must have shape \(6,\)"),
    (lambda: F.rnn_cell(z(1, 3), z(1, 2), z(2, 3), z(2, 2), nonlinearity="elu"), ValueError, "got 'elu'"),
    # shape
    (lambda: F.concatenate([]), ValueError, "list of at least one"),
    (lambda: F.stack(z(2, 3)), ValueError, "tensors must be a list"),
    (lambda: F.pad(z(2, 3), ((1, 1),)), ValueError, "pad_width must have 2 pairs"),
    (lambda: F.pad(z(2), ((-1, 1),)), ValueError, "pad_width must be at least 0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "words"), BAD, ids=[f"{i}-{words[:30]}" for i, (*_, words) in enumerate(BAD)]
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_failed_batch_norm_changes_no_statistics():
    mean, var = z(3), z(3) + 1
    for call in (
        lambda: F.batch_norm(z(4, 3), mean, var, z(2), training=True),
        lambda: F.batch_norm(z(1, 3), mean, var, training=True),
        lambda: F.batch_norm(z(4, 3) + 1, mean, var, momentum=7, training=True),
    ):
        with pytest.raises(ValueError):
            call()
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_array_equal(var, 1)


def test_every_public_function_is_typed_and_documented():
    for name in F.__all__:
        function = getattr(F, name)
        signature = inspect.signature(function)
        assert function.__doc__, name
        assert signature.return_annotation is not inspect.Signature.empty, name
        assert all(
            p.annotation is not inspect.Parameter.empty for p in signature.parameters.values() if p.name != "dtype"
        ), name


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (lambda: F.linear(z(0, 3), z(4, 3)), (0, 4)),
        (lambda: F.conv2d(z(0, 5, 5, 1), z(2, 3, 3, 1)), (0, 3, 3, 2)),
        (lambda: F.max_pool2d(z(0, 4, 4, 1), 2), (0, 2, 2, 1)),
        (lambda: F.max_pool1d(z(0, 4, 1), 2), (0, 2, 1)),
        (lambda: F.avg_pool2d(z(0, 4, 4, 1), 2), (0, 2, 2, 1)),
        (lambda: F.adaptive_avg_pool2d(z(0, 5, 4, 1), 3), (0, 3, 3, 1)),
        (lambda: F.relu(z(0, 3)), (0, 3)),
        (lambda: F.softmax(z(0, 3)), (0, 3)),
        (lambda: F.dropout(z(0, 3)), (0, 3)),
        (lambda: F.batch_norm(z(0, 3), z(3), z(3) + 1, training=True), (0, 3)),
        (lambda: F.batch_norm(z(0, 2, 2, 3), training=True), (0, 2, 2, 3)),
        (lambda: F.layer_norm(z(0, 2, 3), 3, z(3), z(3)), (0, 2, 3)),
        (lambda: F.embedding(np.zeros((0, 2), int), z(3, 4)), (0, 2, 4)),
        (lambda: F.lstm_cell(z(0, 3), (z(0, 2), z(0, 2)), *LSTM)[1], (0, 2)),
        (lambda: F.cross_entropy(z(0, 3), np.zeros(0, int), reduction="none"), (0,)),
        (lambda: F.cross_entropy(z(0, 3), np.zeros(0, int), reduction="sum"), ()),
        (lambda: F.mse_loss(z(0, 3), z(0, 3), reduction="none"), (0, 3)),
        (lambda: F.one_hot(np.zeros(0, int), 3), (0, 3)),
    ],
)
def test_empty_batches(call, shape):
    y = call()
    assert y.shape == shape
    assert y.dtype == np.float32
    assert np.isfinite(y.data).all()


def test_the_mean_of_nothing_is_nan():
    assert np.isnan(F.cross_entropy(z(0, 3), np.zeros(0, int)).item())
    assert np.isnan(F.cross_entropy(z(2, 3), np.array([-100, -100])).item())
    assert np.isnan(F.nll_loss(z(2, 3), np.array([-100, -100])).item())
    assert np.isnan(F.mse_loss(z(0), z(0)).item())
    assert np.isnan(F.binary_cross_entropy(z(0), z(0)).item())


def test_lists_arrays_and_tensors_are_accepted():
    expected = F.linear(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32)).data
    for x in ([[1.0, 1.0]], Tensor([[1.0, 1.0]]), np.ones((1, 2), np.float32)):
        np.testing.assert_array_equal(F.linear(x, [[1.0, 1.0]] * 3), expected)
    for labels in ([0, 1], np.array([0, 1], np.uint8), Tensor([0, 1]), np.array([0, 1], np.int32)):
        assert F.cross_entropy(z(2, 3), labels).item() == pytest.approx(np.log(3), rel=1e-6)


def test_padding_in_words():
    x, w = np.random.default_rng(0).normal(size=(1, 6, 7, 2)), np.ones((1, 4, 3, 2))
    same = F.conv2d(x, w, padding="same").data
    assert same.shape == (1, 6, 7, 1)
    np.testing.assert_array_equal(same, F.conv2d(x, w, padding=((1, 2), (1, 1))).data)
    np.testing.assert_array_equal(F.conv2d(x, w, padding="valid").data, F.conv2d(x, w).data)
    np.testing.assert_array_equal(F.conv2d(x, w, padding=(1, 2)).data, F.conv2d(x, w, padding=[[1, 1], [2, 2]]).data)


def test_conv1d_is_conv2d_on_one_row():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 17, 6), (8, 3, 3), (8,))]
    x, w, b = (Tensor(array, requires_grad=True) for array in arrays)
    y = F.conv1d(x, w, b, 2, (2, 0), 2, 2, activation="relu")
    y.backward(np.ones(y.shape, np.float32))
    x2, w2, b2 = (Tensor(array, requires_grad=True) for array in (arrays[0][:, None], arrays[1][:, None], arrays[2]))
    y2 = F.conv2d(x2, w2, b2, (1, 2), ((0, 0), (2, 0)), (1, 2), 2, activation="relu")
    y2.backward(np.ones(y2.shape, np.float32))
    np.testing.assert_array_equal(y.data, y2.data[:, 0])
    for one, two in ((x.grad, x2.grad[:, 0]), (w.grad, w2.grad[:, 0]), (b.grad, b2.grad)):
        np.testing.assert_array_equal(one, two)
    for padding in ("same", "valid", 3):
        assert F.conv1d(x, w, b, 1, padding, groups=2).shape == (2, {"same": 17, "valid": 15, 3: 21}[padding], 8)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 4), (3, 2)])
def test_causal_conv1d_sees_the_past_alone(stride, dilation):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 20, 4)), rng.normal(size=(6, 3, 2))
    options = {"stride": stride, "dilation": dilation, "groups": 2}
    tensor = Tensor(x, requires_grad=True)
    y = F.conv1d(tensor, w, padding="causal", **options)
    np.testing.assert_array_equal(y.data, F.conv1d(x, w, padding=(2 * dilation, 0), **options).data)
    for last in (0, 7, 11):  # what is cut behind a step changes nothing before it
        short = F.conv1d(x[:, : last + 1], w, padding="causal", **options).data
        np.testing.assert_allclose(y.data[:, : short.shape[1]], short, atol=1e-13)
        assert short.shape[1] == last // stride + 1
    y[:, 2].sum().backward()
    assert tensor.grad[:, 2 * stride].any()
    assert not tensor.grad[:, 2 * stride + 1 :].any()


def test_conv_transpose2d_is_the_adjoint_of_conv2d():
    """<conv2d(y, w), x> = <y, conv_transpose2d(x, w)> with one array w."""
    rng = np.random.default_rng(0)
    y, w = rng.normal(size=(2, 8, 7, 6)), rng.normal(size=(4, 3, 2, 3))
    geometry = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2), "groups": 2}
    down = F.conv2d(y, w, **geometry).data
    x = rng.normal(size=down.shape)
    up = F.conv_transpose2d(x, w, output_padding=0, **geometry).data
    assert up.shape == y.shape
    np.testing.assert_allclose((down * x).sum(), (y * up).sum(), rtol=1e-12)


def test_fused_activation_equals_two_steps():
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 5, 5, 3)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    for name in ("relu", "sigmoid", "tanh"):
        np.testing.assert_allclose(
            F.conv2d(x, w, b, activation=name).data, getattr(F, name)(F.conv2d(x, w, b)).data, rtol=1e-12, atol=1e-12
        )


def test_adaptive_pool_takes_uneven_bins():
    x = np.arange(7.0).reshape(1, 7, 1, 1)
    np.testing.assert_allclose(F.adaptive_avg_pool2d(x, (3, 1)).data.ravel(), [1, 3, 5])
    assert F.adaptive_avg_pool2d(z(2, 5, 6, 3), (None, 4)).shape == (2, 5, 4, 3)


def test_dropout_modes_have_one_expectation():
    dl.manual_seed(0)
    x = np.ones((400, 500), np.float32)
    inverted, notes = F.dropout(x, 0.3).data, F.dropout(x, 0.3, mode="notes").data
    assert set(np.unique(inverted)) == {0, np.float32(1 / 0.7)}
    assert set(np.unique(notes)) == {0, 1}
    assert inverted.mean() == pytest.approx(F.dropout(x, 0.3, training=False).data.mean(), abs=0.01)
    assert notes.mean() == pytest.approx(F.dropout(x, 0.3, training=False, mode="notes").data.mean(), abs=0.01)


def test_dropout_is_reproducible_and_fresh_each_time():
    x = np.ones(1000, np.float32)
    dl.manual_seed(3)
    first, second = F.dropout(x).data, F.dropout(x).data
    assert (first != second).any()
    dl.manual_seed(3)
    np.testing.assert_array_equal(F.dropout(x).data, first)


def test_dropout_gradient_has_the_mask_of_the_forward():
    x = Tensor(np.ones(100), requires_grad=True)
    y = F.dropout(x, 0.4)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.data)


def test_running_statistics():
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (50, 4, 3))
    mean, var = np.zeros(3), np.ones(3)
    F.batch_norm(x, mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(mean, 0.25 * x.mean((0, 1)))
    np.testing.assert_allclose(var, 0.75 + 0.25 * x.var((0, 1), ddof=1))
    before = mean.copy()
    y = F.batch_norm(x, mean, var, eps=1e-3)
    np.testing.assert_array_equal(mean, before)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-3))
    F.batch_norm(x[:0], mean, var, training=True)
    np.testing.assert_array_equal(mean, before)


def test_statistics_that_move_before_backward_leave_its_gradient_alone():
    x, mean, var = Tensor(np.ones((2, 1)), requires_grad=True), np.zeros(1), np.full(1, 4.0)
    y = F.batch_norm(x, mean, var, eps=1e-12).sum()
    var[...] = 100
    y.backward()
    np.testing.assert_allclose(x.grad, 0.5)


def test_losses_by_their_formulas():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    expected = -log_p[np.arange(5), t]
    np.testing.assert_allclose(F.cross_entropy(x, t, reduction="none"), expected)
    np.testing.assert_allclose(F.nll_loss(log_p, t).item(), expected.mean())
    sequence = F.cross_entropy(x.reshape(1, 5, 4), t.reshape(1, 5), reduction="none")
    np.testing.assert_allclose(sequence, expected[None])
    p, q = rng.uniform(0.1, 0.9, (2, 6))
    expected = -(q * np.log(p) + (1 - q) * np.log(1 - p))
    np.testing.assert_allclose(F.binary_cross_entropy(p, q, reduction="none"), expected)
    np.testing.assert_allclose(
        F.binary_cross_entropy_with_logits(np.log(p / (1 - p)), q, reduction="sum").item(), expected.sum()
    )
    assert F.binary_cross_entropy(np.array([0.0, 1.0]), np.array([1.0, 0.0])).item() == 100
