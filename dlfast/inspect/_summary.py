"""summary: the layers of a model, what they give, hold and compute."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import kernels, random
from .._example_inputs import example_inputs
from .._explain import explain
from .._explain.layers import leaves
from .._explain.ops import flops
from .._explain.table import Explanation
from .._printing import plain_text
from ..nn.module import Module
from ..tensor import ArrayLike, Tensor, no_grad
from ..train.evaluation import check_model


class SummaryRow(NamedTuple):
    """One layer: what it gives in one call, and what all its calls take.

    output is None for a layer that is not called. parameters are those of the layer alone, shared ones counted where
    they come first; multiply_adds those of its own operations. Seconds are None without timing, and for layers that run
    within the pass of one before them.
    """

    name: str
    layer: str
    output: tuple[int, ...] | None
    calls: int
    parameters: int
    parameter_bytes: int
    activation_bytes: int
    multiply_adds: int
    forward_seconds: float | None = None
    backward_seconds: float | None = None


@dataclass(frozen=True, repr=False)
class Summary:
    """`rows` of all layers in the order in which they are called first; `inputs` are the shapes that went in.

    explanation: what `dlfast.explain` says, with timing=True, else None.
    """

    model: str
    inputs: list[tuple[int, ...]]
    rows: list[SummaryRow]
    trainable: int
    explanation: Explanation | None = None

    @property
    def parameters(self) -> int:
        """The number of parameters; `trainable` of them learn."""
        return sum(row.parameters for row in self.rows)

    @property
    def parameter_bytes(self) -> int:
        return sum(row.parameter_bytes for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Of all outputs together, which training keeps for the gradients."""
        return sum(row.activation_bytes for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Of one forward pass, for the whole batch."""
        return sum(row.multiply_adds for row in self.rows)

    def __iter__(self) -> Iterator[SummaryRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return plain_text(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(_table(self), Text("\n".join(_totals(self))))


def summary(
    model: Module, input_shape: Sequence[int] | ArrayLike | Sequence[Any], timing: bool = False
) -> Summary:  # fmt: skip
    """The layers of a model for an input of this shape: outputs, parameters, memory and multiply-adds. Print it.

    input_shape: the whole shape, batch included; or an array; or a tuple of such for a model of several inputs, as
    ``((8, 20, 5), np.array([20, 7, ...]))`` for sequences and their lengths. Where an embedding reads a shape's array,
    it is filled with integers. timing: measure every layer as `dlfast.explain` does (its table is ``.explanation``).

    Multiply-adds are those of convolutions, matrix products, recurrent layers and attention by their definitions:
    N P Q K R S C for a convolution, a step of an LSTM 4 Hd (I + Hd), with lengths the steps that exist, under a causal
    mask the pairs that it leaves. Memory of activations is that of the outputs, views aside, in evaluation mode.
    A copy of the model runs; the model, its gradients and the library's random numbers stay as they are.
    Raises TypeError for what is no Module, ValueError where the input does not fit.
    """
    check_model("summary", model)
    state = random.get_state()
    try:
        inputs = example_inputs("summary", model, input_shape)
        rows = _rows(copy.deepcopy(model).cpu().eval(), inputs)
    finally:
        random.set_state(state)
    explanation = explain(model, tuple(inputs)) if timing else None
    if explanation is not None:
        rows = [_timed(row, explanation) for row in rows]
    shapes = [tuple(np.shape(x)) for x in inputs]
    trainable = sum(parameter.size for parameter in model.parameters() if parameter.requires_grad)
    return Summary(type(model).__name__, shapes, rows, trainable, explanation)


@dataclass
class _Found:
    """What is known of a module while the model runs."""

    module: Module
    output: tuple[int, ...] | None = None
    calls: int = 0
    bytes: int = 0
    multiply_adds: int = 0
    called_others: bool = False


def _rows(model: Module, inputs: list[Any]) -> list[SummaryRow]:
    """Run the model once. With a hook on each module none is run within another's pass."""
    found: dict[int, _Found] = {}
    stack: list[_Found] = []
    with kernels.watch() as ops:

        def before(module: Module, args: Any, kwargs: Any) -> None:
            _credit(stack, ops)
            one = found.setdefault(id(module), _Found(module))
            if stack:
                stack[-1].called_others = True
            stack.append(one)

        def after(module: Module, args: Any, kwargs: Any, output: Any) -> None:
            _credit(stack, ops)
            one = stack.pop()
            one.calls += 1
            arrays = [_array(x) for x in leaves(output) if isinstance(x, (Tensor, np.ndarray))]
            given = [_array(x) for x in leaves((args, kwargs)) if isinstance(x, (Tensor, np.ndarray))]
            one.output = one.output or next((array.shape for array in arrays), None)
            one.bytes += sum(a.nbytes for a in arrays if not any(np.may_share_memory(a, b) for b in given))

        for module in model.modules():
            module.register_forward_pre_hook(before, prepend=True, with_kwargs=True)
            module.register_forward_hook(after, with_kwargs=True)
        with no_grad():
            model(*inputs)
    return _as_rows(model, found)


def _credit(stack: list[_Found], ops: list[kernels.Call]) -> None:
    """The operations since the last call or return are those of the module that is running."""
    if stack:
        stack[-1].multiply_adds += sum(flops(op)[0] for op in ops) // 2
    ops.clear()


def _array(x: Any) -> np.ndarray:
    return x.data if isinstance(x, Tensor) else x


def _as_rows(model: Module, found: dict[int, _Found]) -> list[SummaryRow]:
    """The modules that compute or hold something themselves: in the order of their calls, then those not called."""
    names = {id(module): name for name, module in model.named_modules()}
    modules = [one.module for one in found.values()]
    modules += [module for module in model.modules() if id(module) not in found]
    seen: set[int] = set()
    rows = []
    for module in modules:
        one = found.get(id(module), _Found(module, called_others=True))
        own = {id(p): p for p in vars(module).values() if isinstance(p, Tensor) and id(p) not in seen}
        own = {key: p for key, p in own.items() if any(p is q for q in module.parameters())}
        seen |= own.keys()
        if one.called_others and not own and not one.multiply_adds:
            continue
        size, held = sum(p.size for p in own.values()), sum(p.data.nbytes for p in own.values())
        made = 0 if one.called_others else one.bytes  # else it is what the last of those within gave
        name = names.get(id(module), "")
        rows.append(SummaryRow(name, type(module).__name__, one.output, one.calls, size, held, made, one.multiply_adds))
    return rows


def _timed(row: SummaryRow, explanation: Explanation) -> SummaryRow:
    same = [other for other in explanation if other.name == row.name]
    if not same:
        return row
    backward = [other.backward_seconds for other in same if other.backward_seconds is not None]
    forward = sum(other.forward_seconds for other in same)
    return row._replace(forward_seconds=forward, backward_seconds=sum(backward) if backward else None)


def _table(found: Summary) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for name in ("name", "layer", "output"):
        table.add_column(name, overflow="fold")
    right = ["parameters", "weights", "activations", "multiply-adds"]
    for name in right + (["fwd ms", "bwd ms"] if found.explanation else []):
        table.add_column(name, justify="right", no_wrap=True)
    for shape in found.inputs:
        table.add_row("", "input", _shape(shape))
    for row in found.rows:
        times = [_milliseconds(row.forward_seconds), _milliseconds(row.backward_seconds)] if found.explanation else []
        table.add_row(row.name, _label(row), _shape(row.output), *_figures(row), *times)
    table.add_section()
    times = []
    if found.explanation is not None:
        whole = found.explanation.whole
        times = [_milliseconds(whole.forward_seconds), _milliseconds(whole.backward_seconds)]
    table.add_row("", found.model, "", *_figures(found), *times)
    return table


def _label(row: SummaryRow) -> str:
    if row.calls == 1:
        return row.layer
    return f"{row.layer}, {row.calls} times" if row.calls else f"{row.layer}, not called"


def _shape(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else "x".join(map(str, shape)) or "scalar"


def _figures(row: SummaryRow | Summary) -> list[str]:
    return [
        f"{row.parameters:,}" if row.parameters else "",
        size_in_words(row.parameter_bytes),
        size_in_words(row.activation_bytes),
        f"{row.multiply_adds:,}" if row.multiply_adds else "",
    ]


def size_in_words(count: int) -> str:
    """Bytes as people read them, "" for none; a KB is 1000."""
    if not count:
        return ""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            return f"{count / size:.{1 if count < 100 * size else 0}f} {unit}"
    return f"{count} B"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.3f}"


def _totals(found: Summary) -> list[str]:
    frozen = found.parameters - found.trainable
    lines = [f"{found.parameters:,} parameters, {f'{frozen:,} of them frozen' if frozen else 'all of which learn'}."]
    if not found.parameters:
        lines = ["No parameters."]
    if found.explanation is not None:
        lines.append("Layers without times run within the pass of one before them; `.explanation` says how each runs.")
    return lines
