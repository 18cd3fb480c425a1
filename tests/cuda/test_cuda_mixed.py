"""What is said where arguments lie on several devices, and where a device is not there."""

import re

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import nn
from dlfast.cuda import _status

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def on_device(x=X):
    return dl.tensor(x, device="cuda")


def test_without_cuda_it_says_why(monkeypatch):
    monkeypatch.setattr(_status, "_driver", lambda: (None, (), "no driver of NVIDIA is installed"))
    layer = nn.Linear(3, 2)
    with dl.cuda.host(False):
        for move in (dl.Tensor(X).cuda, lambda: dl.Tensor(X).to("cuda"), lambda: layer.to("cuda"), layer.cuda,
                     lambda: dl.zeros(2, device="cuda")):  # fmt: skip
            with pytest.raises(RuntimeError, match="cuda cannot be used: no driver of NVIDIA is installed"):
                move()
    assert layer.weight.device == "cpu"


def test_devices_that_are_not_there():
    for move in (dl.Tensor(X).to, nn.Linear(3, 2).to):
        with pytest.raises(RuntimeError, match="there is no device cuda:99; cuda has"):
            move("cuda:99")
        for name in ("tpu", "cuda:x", "mps"):
            with pytest.raises(ValueError, match=f"to: device: must be 'cpu', 'cuda' or .* got '{name}'"):
                move(name)


Y, LABELS = dl.Tensor(X), dl.Tensor(np.array([0, 1]))
MIXED = [
    (lambda c: F.linear(Y, c), "linear: x lies on cpu and weight on cuda:0; move one, for example x.to('cuda')"),
    (lambda c: nn.Linear(3, 2).cuda()(Y), "linear: x lies on cpu, weight on cuda:0 and bias on cuda:0"),
    (lambda c: nn.Conv2d(1, 2, 1).cuda()(np.zeros((1, 2, 2, 1), np.float32)), "conv2d: x lies on cpu, weight on"),
    (lambda c: nn.LSTM(3, 2)(c[None]), "lstm: x lies on cuda:0, weight_ih on cpu"),
    (lambda c: nn.LayerNorm(3)(c), "layer_norm: x lies on cuda:0, weight on cpu and bias on cpu; move one, for example "
     "weight.to('cuda')"),
    (lambda c: c + Y, "add: a lies on cuda:0 and b on cpu; move one, for example b.to('cuda')"),
    (lambda c: Y * c, "multiply: a lies on cpu and b on cuda:0"),
    (lambda c: c @ Y.T, "matmul: a lies on cuda:0 and b on cpu"),
    (lambda c: c > Y, "gt: a lies on cuda:0 and b on cpu"),
    (lambda c: c + X, "add: a lies on cuda:0 and b on cpu"),
    (lambda c: X + c, "add: a lies on cpu and b on cuda:0"),
    (lambda c: dl.where(Y > 2, c, 0.0), "where: condition lies on cpu and a on cuda:0"),
    (lambda c: c[LABELS], "getitem: x lies on cuda:0 and index on cpu"),
    (lambda c: Y[:, on_device([0, 1])], "getitem: x lies on cpu and index on cuda:0"),
    (lambda c: dl.maximum(c, Y), "maximum: a lies on cuda:0 and b on cpu"),
    (lambda c: F.mse_loss(c, Y), "mse_loss: x lies on cuda:0 and target on cpu; move one, for example target"),
    (lambda c: F.cross_entropy(c, LABELS), "cross_entropy: logits lies on cuda:0 and target on cpu"),
    (lambda c: F.cross_entropy(c, Y), "cross_entropy: logits lies on cuda:0 and target on cpu"),
    (lambda c: F.nll_loss(Y, LABELS, c[0]), "nll_loss: log_probs lies on cpu and weight on cuda:0"),
    (lambda c: F.embedding(LABELS, c), "embedding: indices lies on cpu and weight on cuda:0"),
    (lambda c: F.concatenate([c, Y]), "concatenate: tensors[0] lies on cuda:0 and tensors[1] on cpu"),
    (lambda c: F.scaled_dot_product_attention(c[None], c[None], c[None], np.ones((2, 2), bool)),
     "scaled_dot_product_attention: query lies on cuda:0 and attn_mask on cpu"),
    (lambda c: nn.MultiheadAttention(3, 1).cuda()(c, attn_mask=nn.causal_mask(2)),
     "MultiheadAttention: query lies on cuda:0 and attn_mask on cpu"),
    (lambda c: F.hinge_embedding_loss(c[0], np.ones(3)), "hinge_embedding_loss: x lies on cuda:0 and target on cpu"),
    (lambda c: dl.Tensor(X, requires_grad=True).sum(0).backward(c[0]), "backward: the Tensor lies on cpu and gradient"),
    (lambda c: c.__iadd__(Y), "+=: a lies on cuda:0 and b on cpu"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), MIXED, ids=[words[:30] for _, words in MIXED])
def test_arguments_on_several_devices(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call(on_device())


def test_numbers_mix_with_everything():
    y = on_device()
    for number in (2, 2.0, np.float64(2), np.int64(2), np.array(2), np.array(2.0), dl.tensor(2.0), dl.tensor(2)):
        for result in (y * number, number * y):
            assert result.dtype == np.float32
            np.testing.assert_array_equal(result.cpu().data, X * 2)
