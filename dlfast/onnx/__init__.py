"""Models in and out of the open format ONNX."""

from .exporting import export

__all__ = ["export"]
