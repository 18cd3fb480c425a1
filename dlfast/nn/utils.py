"""Gradient clipping where PyTorch has it; `optim` is its home."""

from ..optim.clip import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_"]
