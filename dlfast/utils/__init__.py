"""What PyTorch has under torch.utils: `dlfast.data` as `dlfast.utils.data`, and `dlfast.utils.dlpack`."""

from . import data, dlpack

__all__ = ["data", "dlpack"]
