"""What each layer of a model gives: its outputs while some rows pass through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._explain.layers import leaves
from ..nn.module import Module
from ..tensor import Tensor, no_grad
from ._setting import Sample, copy_of

Seen = Callable[[str, Module, np.ndarray, bool], None]


def watch_outputs(op: str, model: Module, sample: Sample, seen: Seen, training: bool = False) -> None:
    """Call seen(name, module, output, last) with the first output of every module, in the order in which they end.

    last: whether it is the output of the whole model. With a hook each module runs by itself, not in another's pass.
    """
    outputs: list[tuple[str, Any, np.ndarray]] = []
    with copy_of(op, model, training) as copied:
        for name, module in copied.named_modules():

            def after(module: Module, args: Any, output: Any, name: str = name) -> None:
                arrays = [x.data for x in leaves(output) if isinstance(x, Tensor)]
                if arrays and arrays[0].size:
                    outputs.append((name, module, arrays[0]))

            module.register_forward_hook(after)
        with no_grad(), np.errstate(all="ignore"):
            result = copied(*sample.inputs)
        final = next((x.data for x in leaves(result) if isinstance(x, Tensor)), None)
        for name, module, array in outputs:
            seen(name, module, array, final is not None and np.may_share_memory(array, final))


def is_leaf(module: Module) -> bool:
    """Whether a module is made of no others."""
    return next(module.children(), None) is None
