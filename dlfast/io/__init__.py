"""Doors to other libraries."""

from .pytorch import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
