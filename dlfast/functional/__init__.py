"""Functions on Tensors and arrays, channels last: one typed, documented function an operation.

All checks of arguments stand here; the kernels check nothing. A call that raises changes nothing.
"""

import typing as _typing

from .._suggest import missing as _missing
from ._activations import (
    celu,
    glu,
    hardshrink,
    hardsigmoid,
    hardtanh,
    logsigmoid,
    mish,
    prelu,
    relu6,
    selu,
    softmin,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
)
from ._attention import rotary_embedding, scaled_dot_product_attention, self_attention
from ._conv import conv1d, conv2d
from ._conv_norm import conv2d_batch_norm
from ._conv_pool import conv2d_avg_pool2d, conv2d_max_pool2d
from ._conv_transpose import conv_transpose1d, conv_transpose2d
from ._elementwise import (
    dropout,
    dropout1d,
    dropout2d,
    elu,
    gelu,
    hardswish,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softplus,
    swish,
    tanh,
)
from ._embedding import embedding, one_hot
from ._linear import linear, matmul
from ._loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from ._margin_loss import (
    cosine_embedding_loss,
    cosine_similarity,
    gaussian_nll_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    normalize,
    poisson_nll_loss,
    soft_margin_loss,
    triplet_margin_loss,
)
from ._norm import batch_norm, group_norm, layer_norm, rms_norm
from ._pool import adaptive_avg_pool1d, adaptive_avg_pool2d, avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from ._recurrent import gru_cell, lstm_cell, rnn_cell
from ._resize import adaptive_max_pool1d, adaptive_max_pool2d, interpolate
from ._sequence import gru, lstm, rnn
from ._shape import concatenate, pad, pixel_shuffle, pixel_unshuffle, stack
from ._softmax import log_softmax, softmax

__all__ = sorted(name for name, value in vars().items() if name[0] != "_" and callable(value))

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
