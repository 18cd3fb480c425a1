"""`from_dlpack` and `to_dlpack` where PyTorch has them: torch.utils.dlpack."""

from .._dlpack import from_dlpack, to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
