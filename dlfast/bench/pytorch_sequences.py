"""Our recurrent layers and sequence networks in PyTorch. Imported only where PyTorch is installed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import gelu, linear, scaled_dot_product_attention
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .. import nn
from .pytorch import array
from .pytorch_networks import converted
from .rows import OperationStep, Step
from .sequences import GPT, CharLSTM


def layer_step(layer: Any, x: np.ndarray, dy: np.ndarray, options: dict[str, Any], lengths: np.ndarray | None) -> Step:
    """Forward and backward of the same layer in PyTorch."""
    peer = getattr(torch.nn, type(layer).__name__)(x.shape[2], layer.hidden_size, **options)
    peer.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    forward = partial(_forward, peer, None if lengths is None else torch.from_numpy(lengths))
    tensors = [torch.tensor(x, requires_grad=True), *peer.parameters()]
    return OperationStep(forward, tensors, torch.tensor(dy), array)


def _forward(peer, lengths, x, *parameters):
    if lengths is None:
        return peer(x)[0]
    packed, _ = peer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    return pad_packed_sequence(packed, total_length=x.shape[0])[0]


@converted.register
def _embedding(module: nn.Embedding) -> torch.nn.Module:
    return torch.nn.Embedding(module.num_embeddings, module.embedding_dim)


@converted.register
def _lstm(module: nn.LSTM) -> torch.nn.Module:
    return torch.nn.LSTM(module.input_size, module.hidden_size, module.num_layers)


@converted.register
def _layer_norm(module: nn.LayerNorm) -> torch.nn.Module:
    return torch.nn.LayerNorm(module.normalized_shape, module.eps)


@converted.register
def _char_lstm(module: CharLSTM) -> torch.nn.Module:
    return _CharLSTM(module)


@converted.register
def _gpt(module: GPT) -> torch.nn.Module:
    return _GPT(module)


class _CharLSTM(torch.nn.Module):
    def __init__(self, module: CharLSTM):
        super().__init__()
        self.embedding, self.lstm, self.head = map(converted, (module.embedding, module.lstm, module.head))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(x))[0]).flatten(0, 1)


class _Block(torch.nn.Module):
    """A pre-norm block with one product for queries, keys and values: faster than PyTorch's own encoder layer."""

    def __init__(self, module: Any):  # nn.TransformerEncoderLayer, whose norms are made by number
        super().__init__()
        attention = module.self_attn
        self.heads, width = attention.num_heads, attention.embed_dim
        self.in_proj_weight = torch.nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = torch.nn.Parameter(torch.empty(3 * width))
        self.out_proj, self.linear1, self.linear2, self.norm1, self.norm2 = map(
            converted, (attention.out_proj, module.linear1, module.linear2, module.norm1, module.norm2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, steps, width = x.shape
        qkv = linear(self.norm1(x), self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out_proj(y.transpose(1, 2).reshape(batch, steps, width))
        return x + self.linear2(gelu(self.linear1(self.norm2(x))))


class _GPT(torch.nn.Module):
    def __init__(self, module: GPT):
        super().__init__()
        encoder: Any = module.encoder
        self.tokens, self.positions = map(converted, (module.tokens, module.positions))
        self.blocks = torch.nn.ModuleList([_Block(block) for block in encoder.layers])
        self.norm, self.head = converted(encoder.norm), converted(module.head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.tokens(x) + self.positions.weight[: x.shape[1]]
        for block in self.blocks:
            y = block(y)
        return self.head(self.norm(y)).flatten(0, 1)
