"""Arguments that cannot be right: an error that says what was expected, what came and what to do."""

import numpy as np
import pytest

from dlfast import functional as F
from dlfast import nn


def z(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


BAD = [
    # normalisation
    (lambda: F.rms_norm(z(8, 64), 32), ValueError, r"rms_norm: the last axes of x must be normalized_shape \(32,\)"),
    (lambda: F.rms_norm(z(8, 64), 64, z(32)), ValueError, r"rms_norm: weight must have shape \(64,\) to match"),
    (lambda: F.rms_norm(z(8, 64), 64, eps=0), ValueError, "eps must be in"),
    (lambda: F.group_norm(z(2, 3, 6), 4), ValueError, r"num_groups=4 must divide the 6 channels of x \(2, 3, 6\)"),
    (lambda: F.group_norm(z(2, 3, 6), 3, z(3)), ValueError, r"group_norm: weight must have shape \(6,\)"),
    (lambda: F.group_norm(z(6), 3), ValueError, r"x must have shape \(N, ..., C\) with at least one channel, got"),
    (lambda: F.group_norm(z(2, 3, 0), 1), ValueError, "with at least one channel"),
    (lambda: F.group_norm(z(2, 6), 0), ValueError, "num_groups must be at least 1"),
    (lambda: nn.GroupNorm(4, 6), ValueError, "num_groups=4 must divide num_channels=6"),
    (
        lambda: nn.GroupNorm(2, 6)(z(2, 3, 4)),
        ValueError,
        r"GroupNorm: x must have num_channels=6 channels in its last axis, got shape \(2, 3, 4\)",
    ),
    # losses of distributions, channels dropped, sequences
    (lambda: F.kl_div(z(2, 3), z(2)), ValueError, r"kl_div: target must have shape \(2, 3\) like x, got \(2,\)"),
    (lambda: F.kl_div(z(2), z(2), "average"), ValueError, "'none', 'batchmean'"),
    (lambda: F.smooth_l1_loss(z(2), z(2), beta=-1), ValueError, "beta must be in"),
    (lambda: F.smooth_l1_loss(z(2), z(2), "batchmean"), ValueError, "reduction"),
    (lambda: F.dropout2d(z(2, 3, 4)), ValueError, r"dropout2d: x must have 4 axes \(N, H, W, C\)"),
    (lambda: F.dropout1d(z(2, 3)), ValueError, r"dropout1d: x must have 3 axes \(N, L, C\)"),
    (lambda: F.dropout2d(z(1, 2, 3, 4, dtype=int)), TypeError, "dropout2d: x must be float32"),
    (lambda: F.avg_pool1d(z(2, 3), 2), ValueError, r"avg_pool1d: x must have 3 axes \(N, L, C\)"),
    (lambda: F.avg_pool1d(z(1, 3, 2), (2, 2)), TypeError, "avg_pool1d: kernel_size must be an integer"),
    (lambda: F.adaptive_avg_pool1d(z(1, 3, 2), 0), ValueError, "output_size must be at least 1"),
    (lambda: F.conv_transpose1d(z(1, 4, 3), z(2, 3, 4)), ValueError, "weight must have shape"),
    (lambda: F.conv_transpose1d(z(1, 4), z(4, 3, 4)), ValueError, r"x must have 3 axes \(N, L, I\)"),
    (lambda: F.conv_transpose1d(z(1, 4, 3), z(3, 3, 4), stride=(1, 2)), TypeError, "stride must be an integer"),
    # sizes
    (lambda: F.interpolate(z(1, 2, 2, 1)), ValueError, "give size or scale_factor, one of the two"),
    (lambda: F.interpolate(z(1, 2, 2, 1), 4, 2), ValueError, "give size or scale_factor, one of the two"),
    (lambda: F.interpolate(z(1, 2, 2, 1), (4, 4, 4)), ValueError, r"size must be one number or 2, got \(4, 4, 4\)"),
    (lambda: F.interpolate(z(1, 2, 2, 1), 4.5), TypeError, "size must be an integer, got 4.5"),
    (lambda: F.interpolate(z(1, 2, 2, 1), scale_factor=0.1), ValueError, "leaves no pixel"),
    (lambda: F.interpolate(z(1, 2, 2, 1), scale_factor=0), ValueError, "scale_factor must be in"),
    (lambda: F.interpolate(z(1, 2, 2, 1), 4, mode="bicubic"), ValueError, "mode must be one of 'nearest'"),
    (lambda: F.interpolate(z(1, 2, 2, 1), 4, mode="linear"), ValueError, "is 'bilinear', got 'linear'"),
    (lambda: F.interpolate(z(1, 2, 1), 4, mode="bilinear"), ValueError, "is 'linear', got 'bilinear'"),
    (
        lambda: F.interpolate(z(1, 2, 2, 1), 4, align_corners=True),
        ValueError,
        "align_corners is for the modes 'linear'",
    ),
    (lambda: F.interpolate(z(2, 2), 4), ValueError, r"x must have shape \(N, H, W, C\) or \(N, L, C\), got \(2, 2\)"),
    (lambda: F.interpolate(z(1, 0, 2, 1), 4), ValueError, "at least one pixel"),
    (lambda: F.interpolate(z(1, 2, 2, 1, dtype=int), 4), TypeError, "interpolate: x must be float32"),
    (lambda: nn.Upsample(), ValueError, "Upsample: give size or scale_factor"),
    (lambda: nn.Upsample(2, mode="cubic"), ValueError, "Upsample: mode must be one of"),
    (lambda: F.adaptive_max_pool2d(z(1, 2, 2), 1), ValueError, r"must have 4 axes \(N, H, W, C\)"),
    (lambda: F.adaptive_max_pool2d(z(1, 0, 2, 1), 1), ValueError, "at least one row and column"),
    (lambda: nn.AdaptiveMaxPool2d(0), ValueError, "output_size must be at least 1"),
    (lambda: F.adaptive_max_pool1d(z(1, 3, 2), 0), ValueError, "output_size must be at least 1"),
    # over time
    (
        lambda: F.lstm(z(4, 2, 3), None, z(20, 3), z(20, 5), lengths=[True, False]),
        TypeError,
        "lengths must be integers",
    ),
    (
        lambda: F.gru(z(4, 2, 3), None, z(15, 3), z(15, 5), lengths=[[1, 2]]),
        ValueError,
        r"lengths must have shape \(2,\)",
    ),
    (lambda: F.rnn(z(4, 2, 3), None, z(5, 3), z(5, 5), lengths=[4, 5]), ValueError, "lengths must be in 1..4"),
    (lambda: nn.GRU(3, 5, batch_first=True)(z(2, 4, 3), lengths=[4, 5]), ValueError, "gru: lengths must be in 1..4"),
    (lambda: nn.LSTM(3, 5)(z(4, 2, 3), lengths=[0, 4]), ValueError, "lstm: lengths must be in 1..4"),
    (lambda: F.rnn(z(4, 2, 3), z(2, 4), z(5, 3), z(5, 5)), ValueError, r"rnn: h must have shape \(2, 5\)"),
    (lambda: F.gru(z(4, 2, 3), z(1, 2, 5), z(15, 3), z(15, 5)), ValueError, r"gru: h must have shape \(2, 5\)"),
    (lambda: F.lstm(z(4, 2, 3), None, z(20, 4), z(20, 5)), ValueError, r"weight_ih must have shape \(20, 3\)"),
    (lambda: F.lstm(z(4, 2, 3), None, z(20, 3), z(20, 5), z(5)), ValueError, r"bias_ih must have shape \(20,\)"),
    (
        lambda: F.lstm(z(4, 2, 3), None, z(20, 3), z(20, 5, dtype=np.float64)),
        TypeError,
        "weight_hh must have the dtype of x",
    ),
    (lambda: F.lstm(z(4, 2, 3, dtype=int), None, z(20, 3), z(20, 5)), TypeError, "x must be float32"),
    (lambda: F.lstm(z(4, 2, 3), None, None, z(20, 5)), TypeError, "lstm: weight_ih must be an array, got None"),
    (lambda: F.rnn(z(4, 2, 3), None, z(5, 3), z(5, 5), nonlinearity="gelu"), ValueError, "nonlinearity must be one of"),
    (lambda: nn.LSTM(3, 5)(z(4, 2, 3), z(1, 2, 5)), TypeError, r"LSTM: the state must be the pair \(h, c\)"),
    (lambda: nn.LSTM(3, 5)(z(4, 2, 3), (z(1, 2, 5), z(1, 2, 4))), ValueError, r"LSTM: c must have shape \(1, 2, 5\)"),
    (lambda: nn.GRU(3, 5, 2)(z(4, 2, 3), z(1, 2, 5)), ValueError, r"GRU: h must have shape \(2, 2, 5\)"),
    (lambda: nn.RNN(3, 5)(z(3)), ValueError, r"RNN: x must have shape \(T, B, I\), or \(T, I\)"),
    (lambda: nn.LSTM(3, 0), ValueError, "LSTM: hidden_size must be at least 1"),
    (lambda: nn.LSTM(3, 5, dropout=1.5), ValueError, "LSTM: dropout must be in"),
    # attention
    (
        lambda: F.scaled_dot_product_attention(*[z(1, 2, 3, 4)] * 3, z(2, 2, 3, 3)),
        ValueError,
        "attn_mask must broadcast",
    ),
    (
        lambda: F.scaled_dot_product_attention(*[z(1, 2, 3, 4)] * 3, z(3, 3, dtype=int)),
        TypeError,
        "attn_mask must be bool",
    ),
    (lambda: F.scaled_dot_product_attention(z(3, 4), z(3, 4), z(3, 4)), ValueError, "query must have shape"),
    (
        lambda: F.scaled_dot_product_attention(z(1, 2, 3, 4), z(1, 2, 5, 3), z(1, 2, 5, 3)),
        ValueError,
        "key must have shape",
    ),
    (lambda: F.scaled_dot_product_attention(z(1, 2, 3, 4), *[z(2, 2, 3, 4)] * 2), ValueError, "key must have shape"),
    (
        lambda: F.scaled_dot_product_attention(z(1, 2, 3, 4), z(1, 2, 5, 4), z(1, 2, 3, 4)),
        ValueError,
        "value must have key",
    ),
    (
        lambda: F.scaled_dot_product_attention(z(1, 3, 3, 4), *[z(1, 2, 3, 4)] * 2, enable_gqa=True),
        ValueError,
        "key's 2 heads must divide query's 3",
    ),
    (lambda: F.scaled_dot_product_attention(*[z(1, 2, 3, 4)] * 3, dropout_p=1.0), ValueError, "dropout_p must be in"),
    (
        lambda: F.scaled_dot_product_attention(z(1, 2, 3, 4), *[z(1, 2, 3, 4, dtype=np.float64)] * 2),
        TypeError,
        "key must have the dtype of query",
    ),
    (lambda: nn.MultiheadAttention(8, 3), ValueError, "MultiheadAttention: num_heads must divide embed_dim 8, got 3"),
    (lambda: nn.MultiheadAttention(8, 2)(z(5, 3, 6)), ValueError, "query must have 8 features, got 6"),
    (lambda: nn.MultiheadAttention(8, 2)(z(5, 3, 8), z(5, 2, 8)), ValueError, "must have one batch size"),
    (
        lambda: nn.MultiheadAttention(8, 2)(z(5, 3, 8), attn_mask=z(5, 4)),
        ValueError,
        r"attn_mask must have shape \(5, 5\)",
    ),
    (lambda: nn.MultiheadAttention(8, 2)(z(5, 3, 8), attn_mask=z(3, 5, 5)), ValueError, r"or \(6, 5, 5\)"),
    (
        lambda: nn.MultiheadAttention(8, 2)(z(5, 3, 8), key_padding_mask=z(5, 3, dtype=bool)),
        ValueError,
        r"key_padding_mask must have shape \(3, 5\)",
    ),
    (
        lambda: nn.MultiheadAttention(8, 2)(z(5, 3, 8), attn_mask=z(5, 5, dtype=int)),
        TypeError,
        "attn_mask must be bool or",
    ),
    (lambda: nn.TransformerEncoderLayer(8, 3), ValueError, "num_heads must divide embed_dim 8, got 3"),
    (lambda: nn.TransformerEncoderLayer(8, 2, activation="tanh"), ValueError, "activation must be one of"),
    (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 0), ValueError, "num_layers must be at least 1"),
    (lambda: nn.TransformerDecoderLayer(8, 2)(z(4, 2, 8), z(5, 3, 8)), ValueError, "must have one batch size"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_arguments_raise(call, error, words):
    with pytest.raises(error, match=words):
        call()


EMPTY = [
    (lambda: F.rms_norm(z(0, 2, 3), 3, z(3)), (0, 2, 3)),
    (lambda: F.group_norm(z(0, 2, 4), 2, z(4), z(4)), (0, 2, 4)),
    (lambda: F.group_norm(z(2, 0, 4), 2), (2, 0, 4)),
    (lambda: F.avg_pool1d(z(0, 4, 1), 2), (0, 2, 1)),
    (lambda: F.conv_transpose1d(z(0, 4, 3), z(3, 2, 5), stride=2), (0, 8, 5)),
    (lambda: F.dropout2d(z(0, 2, 3, 4)), (0, 2, 3, 4)),
    (lambda: F.interpolate(z(0, 2, 3, 4), 5), (0, 5, 5, 4)),
    (lambda: F.adaptive_max_pool2d(z(0, 7, 5, 4), 3), (0, 3, 3, 4)),
    (lambda: F.smooth_l1_loss(z(0, 3), z(0, 3), "none"), (0, 3)),
    (lambda: F.kl_div(z(0, 3), z(0, 3), "sum"), ()),
]


@pytest.mark.parametrize(("call", "shape"), EMPTY)
def test_empty_batches(call, shape):
    y = call()
    assert y.shape == shape
    assert y.dtype == np.float32


def test_the_mean_of_nothing_is_nan():
    assert np.isnan(F.kl_div(z(0, 3), z(0, 3)).item())
    assert np.isnan(F.kl_div(z(0, 3), z(0, 3), "batchmean").item())
    assert np.isnan(F.smooth_l1_loss(z(0), z(0)).item())


def test_groups_of_one_number_and_constants_are_normalised_to_0():
    """Whatever their offset: the mean is kept in float64."""
    for value in (0.1, 1000.1, 54321.1, 1e30):
        x = np.full((3, 7, 5, 6), value, np.float32)
        np.testing.assert_array_equal(F.group_norm(x, 3, bias=z(6) + 2).data, 2)
    np.testing.assert_array_equal(F.group_norm(np.arange(12, dtype=np.float32).reshape(3, 4), 4).data, 0)


def test_dropout2d_drops_whole_channels():
    y = F.dropout2d(z(50, 2, 3, 40) + 1, 0.25).data
    kept = y[:, 0, 0] > 0
    np.testing.assert_array_equal(y, np.broadcast_to(kept[:, None, None] / np.float32(0.75), y.shape))
    assert kept.mean() == pytest.approx(0.75, abs=0.05)
    assert F.dropout2d(y, 0.25, training=False).data is y
