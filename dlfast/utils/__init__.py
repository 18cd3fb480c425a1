"""`dlfast.data` where PyTorch has it: `dlfast.utils.data`."""

from . import data

__all__ = ["data"]
