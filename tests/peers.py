"""PyTorch, where it is installed: `torch`, else None, and the mark of tests that need it."""

import pytest

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
