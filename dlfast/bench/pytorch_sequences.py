"""Our recurrent layers and sequence networks in PyTorch. Imported only where PyTorch is installed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import gelu, linear, scaled_dot_product_attention
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .. import nn
from ..models.gpt import GPT
from ..models.language import CharNet
from . import pytorch_networks as networks
from .pytorch import array
from .pytorch_networks import converted
from .rows import OperationStep, Step


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


def training_steps(model: nn.Module, x: np.ndarray, y: np.ndarray) -> dict[str, Step]:
    """The training step of the same language model on the codes x, its targets y."""
    return networks.training_steps(model, x, (y.T if isinstance(model, CharNet) else y).reshape(-1))


@converted.register
def _char_net(module: CharNet) -> torch.nn.Module:
    return _CharNet(module)


@converted.register
def _gpt(module: GPT) -> torch.nn.Module:
    return _GPT(module)


@converted.register
def _embedding(module: nn.Embedding) -> torch.nn.Module:
    return torch.nn.Embedding(module.num_embeddings, module.embedding_dim)


@converted.register
def _positions(module: nn.LearnedPositions) -> torch.nn.Module:
    return torch.nn.Embedding(module.max_len, module.embed_dim)


@converted.register
def _layer_norm(module: nn.LayerNorm) -> torch.nn.Module:
    return torch.nn.LayerNorm(module.normalized_shape, module.eps)


class _CharNet(torch.nn.Module):
    """Steps come first here, which is faster in PyTorch: codes (B, T) -> logits (T B, V)."""

    def __init__(self, module: CharNet):
        super().__init__()
        self.embedding = converted(module.embedding)
        rnn = module.rnn
        kind = getattr(torch.nn, type(rnn).__name__)
        self.rnn = kind(rnn.input_size, rnn.hidden_size, rnn.num_layers)
        self.head = converted(module.head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.embedding(x.t()))[0]).flatten(0, 1)


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

    def forward(self, x: torch.Tensor, kept: torch.Tensor | None = None, start: int = 0) -> torch.Tensor:
        """kept (2, B, H, context, D): keys and values of the steps before `start`, to which it adds these."""
        batch, steps, width = x.shape
        qkv = linear(self.norm1(x), self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if kept is not None:
            stop = start + steps
            kept[0, :, :, start:stop], kept[1, :, :, start:stop] = k, v
            k, v = kept[0, :, :, :stop], kept[1, :, :, :stop]
        y = scaled_dot_product_attention(q, k, v, is_causal=kept is None)
        x = x + self.out_proj(y.transpose(1, 2).reshape(batch, steps, width))
        return x + self.linear2(gelu(self.linear1(self.norm2(x))))


class _GPT(torch.nn.Module):
    def __init__(self, module: GPT):
        super().__init__()
        blocks: Any = module.blocks
        self.token, self.position = converted(module.token), converted(module.position)
        self.blocks = torch.nn.ModuleList([_Block(block) for block in blocks.layers])
        self.norm, self.head = converted(blocks.norm), converted(module.head)

    def forward(self, x: torch.Tensor, kept: list[torch.Tensor] | None = None, start: int = 0) -> torch.Tensor:
        y = self.token(x) + self.position.weight[start : start + x.shape[1]]
        for i, block in enumerate(self.blocks):
            y = block(y, None if kept is None else kept[i], start)
        return self.head(self.norm(y)).flatten(0, 1)


class GenerationStep:
    """One contender's `Generation`: PyTorch's, with room for all keys and values from the start."""

    def __init__(self, model: GPT, length: int):
        self.net = networks.Twin(model, np.zeros((1, 1), np.int64), "NCHW").net.eval()
        block = self.net.blocks[0]
        size = 2, 1, block.heads, length, block.out_proj.in_features // block.heads
        self.kept, self.length = [torch.empty(size) for _ in self.net.blocks], length

    def __call__(self) -> list[torch.Tensor]:
        code, logits = torch.zeros(1, 1, dtype=torch.int64), []
        with torch.inference_mode():
            for step in range(self.length):
                logits.append(self.net(code, self.kept, step)[0])
                code = logits[-1].argmax().view(1, 1)
        return logits

    def results(self) -> list[np.ndarray]:
        return [torch.stack(self()).numpy()]
