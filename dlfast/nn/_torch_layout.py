"""A warning where tensors of PyTorch go into convolutions as they are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .module import Module


def warn_of_layout(model: Module, state: Mapping[str, Any]) -> None:
    """UserWarning where a weight is a torch tensor and its layer says `channels_first_in_torch`.

    PyTorch's Conv2d(3, 8, 3) has a weight (8, 3, 3, 3) = (O, I, R, S), which fits (O, R, S, I) as well.
    """
    if not any(type(value).__module__.partition(".")[0] == "torch" for value in state.values()):
        return
    for name, module in model.named_modules():
        key = f"{name}.weight" if name else "weight"
        if getattr(module, "channels_first_in_torch", False) and key in state:
            warnings.warn(
                f"load_state_dict: {key} is a tensor of PyTorch, where convolutions have weights channels first; here "
                "they lie channels last, so it fits only if you have permuted it; "
                "dlfast.io.from_torch(state, model) converts a whole state_dict",
                stacklevel=3,
            )
            return
