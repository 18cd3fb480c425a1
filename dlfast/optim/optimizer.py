"""Optimizer: parameter groups, the walk over their arenas, and the state that a resumed run needs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _check as check
from .._devices import assign, find, moved, on_cpu, on_device
from .._tape import forget_gradients, same_parameters
from ..kernels.capturing import again
from ..kernels.halves import is_half
from ..tensor import Parameter, Tensor
from .arena import Block, Stretch
from .clip import clip_factor, listed, on_one_device, square_sum

# Options of PyTorch's optimizers that these have not: where they are off, or choose an implementation, it is the same.
_OFF = {"amsgrad", "centered", "differentiable"}
_IMPLEMENTATIONS = {"foreach", "fused", "capturable"}
_OF_SCHEDULES = {"initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"}
_OF_NO_MATTER = {*_IMPLEMENTATIONS, *_OF_SCHEDULES, "decoupled_weight_decay", "differentiable", "param_names"}
_OURS_ALONE = {"eps_inside_sqrt", "maximize"}  # which states of PyTorch, or our older ones, may lack


class Optimizer:
    """Updates parameters from their gradients.

    ``params`` is an iterable of Parameters, or of dictionaries ``{"params": [...], "lr": 0.01}`` whose options replace
    the optimizer's own for that group. The options may be changed at any time in ``param_groups``. A parameter without
    a gradient is left alone, its state and its step count too.

    clip_grad_norm: the common norm of all gradients that a step goes by, at most, None for no limit:

        g <- g * min(1, clip_grad_norm / (norm + 1e-6)),   norm = sqrt(sum g^2) over every parameter of every group

    as `clip_grad_norm_` does it, but in the pass of the update: ``p.grad`` stays as it is. ``optimizer.grad_norm`` is
    the norm of the last step before it was clipped, None without clipping; ``clip_grad_norm`` may be changed any time.

    State lies beside the parameters. Where they are moved to another device, it follows at the next step; on a device a
    step waits for nothing, the norm of clipping is read there, and only ``grad_norm`` waits for it.

    maximize: an option of every optimizer and group: go up the gradient, g <- -g, instead of down. PyTorch's foreach,
    fused and capturable, which choose an implementation, are taken and have no effect; amsgrad, centered and
    differentiable are refused where they are on.

    A subclass gives ``_check_options(group)``, ``_update(group, stretch, grad_scale)`` and the names of its state.
    Raises ValueError for no parameters, duplicates and options out of range, TypeError for what is no Parameter or no
    number.
    """

    _state_names: tuple[str, ...] = ()
    _number_names: tuple[str, ...] = ()  # of the numbers that are kept for each parameter, beside its step count
    _decoupled = False  # the weight decay of AdamW

    def __init__(self, params, defaults: dict, clip_grad_norm: float | None = None, maximize: bool = False, **others):
        self._refuse(others)
        if clip_grad_norm is not None:
            clip_grad_norm = check.number(self._name, "clip_grad_norm", clip_grad_norm, 0, math.inf)
        self.clip_grad_norm = clip_grad_norm
        self._grad_norm: Any = None  # or the square of it, on a device
        self.defaults = {**defaults, "maximize": bool(maximize)}
        self.param_groups: list[dict] = []
        self._blocks: list[list[Block]] = []  # of each group, and below the parameters that they were made for
        self._taken: list[tuple] = []
        for group in self._as_groups(params):
            self.add_param_group(group)

    def _refuse(self, options: dict) -> None:
        """Raise for options that PyTorch has not either, and for those of its that these optimizers lack."""
        for name, value in options.items():
            if name not in _OFF | _IMPLEMENTATIONS:
                raise TypeError(f"{self._name}: unknown option {name}; known are {', '.join(self._options())}")
            if name in _OFF and value:
                raise ValueError(f"{self._name}: {name} is not supported; leave it out, or pass {name}=False")

    def _options(self) -> list[str]:
        names = [*inspect.signature(type(self).__init__).parameters, "maximize", "clip_grad_norm"]
        return [name for name in names if name not in ("self", "others")]

    def _as_groups(self, params) -> list[dict]:
        if isinstance(params, (Parameter, np.ndarray, dict)):
            raise TypeError(f"{self._name}: params must be a list of Parameters or of groups, got one {_kind(params)}")
        params = listed(self._name, "params", params)
        if not params:
            raise ValueError(f"{self._name}: params is empty; pass model.parameters(), afresh for every optimizer")
        return params if all(isinstance(p, dict) for p in params) else [{"params": params}]

    def add_param_group(self, group: dict) -> None:
        """Take more parameters, ``{"params": [...], option: value}``. A call that raises changes nothing."""
        if unknown := sorted(set(group) - {"params", *self.defaults}):
            raise ValueError(f"{self._name}: unknown option {', '.join(unknown)}; known are {', '.join(self.defaults)}")
        group = {**self.defaults, **group}
        taken = {id(p) for other in self.param_groups for p in other["params"]}
        group["params"] = self._check_parameters(group.get("params", ()), taken)
        self._check_options(group)
        self._blocks.append(_blocks_of(group["params"]))
        self._taken.append(tuple(group["params"]))
        self.param_groups.append(group)

    def _check_parameters(self, params, taken: set[int]) -> list:
        """The parameters of a group as a list; `taken`, to which they are added, has the ids of all others."""
        params = listed(self._name, "params", params)
        if not params:
            raise ValueError(f"{self._name}: a parameter group is empty")
        for i, p in enumerate(params):
            if not isinstance(p, Parameter):
                advice = "; make it one with nn.Parameter(x)" if isinstance(p, Tensor) else ""
                raise TypeError(f"{self._name}: params[{i}] must be a Parameter, got {_kind(p)}{advice}")
            if is_half(p.data.dtype):
                raise TypeError(
                    f"{self._name}: params[{i}], of shape {p.shape}, is {p.data.dtype}, in which small updates are "
                    "lost; keep parameters in float32, model.float(), and train under amp.autocast"
                )
            if id(p) in taken:
                raise ValueError(f"{self._name}: params[{i}], of shape {p.shape}, appears more than once")
            taken.add(id(p))
        return params

    def _follow_groups(self) -> None:
        """Take over what has been changed in ``param_groups`` by hand. A call that raises changes nothing here."""
        if same_parameters(self.param_groups, self._taken):
            return
        seen: set[int] = set()
        for group in self.param_groups:
            group.update({**self.defaults, **group})
            group["params"] = self._check_parameters(group["params"], seen)
            self._check_options(group)
        before = {
            id(p): (block, i) for blocks in self._blocks for block in blocks for i, p in enumerate(block.parameters)
        }
        self._blocks = [_blocks_of(group["params"]) for group in self.param_groups]
        self._taken = [tuple(group["params"]) for group in self.param_groups]
        for block, i in self._located():
            if (place := before.get(id(block.parameters[i]))) and place[0].dtype == block.dtype:
                block.take_state(i, *place)

    def _check_options(self, group: dict) -> None:
        raise NotImplementedError

    def _check_range(self, group: dict, name: str, low=0.0, high=math.inf, *, low_open: bool = False) -> None:
        """Make the option a float in [low, high), or (low, high), or raise."""
        group[name] = check.number(self._name, name, group[name], low, high, low_open)

    def _check_betas(self, group: dict) -> None:
        """Make betas a pair of floats in [0, 1), or raise."""
        if not isinstance(group["betas"], (tuple, list)) or len(group["betas"]) != 2:
            raise ValueError(f"{self._name}: betas must be a pair of numbers, got {group['betas']!r}")
        betas = {f"betas[{i}]": beta for i, beta in enumerate(group["betas"])}
        for name in betas:
            self._check_range(betas, name, high=1.0)
        group["betas"] = tuple(betas.values())

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients: ``p.grad`` is None until the next backward; with set_to_none=False fill them with 0."""
        if set_to_none:
            for group in self.param_groups:
                forget_gradients(group["params"])
            return
        for gradient in self.flat_gradients():
            gradient.fill(0)

    def step(self, closure: Callable | None = None) -> Any:
        """Update every parameter that has a gradient. closure: called first, computes the loss, which is returned."""
        loss = closure() if closure is not None else None
        if self.clip_grad_norm is None:
            self._update_all(1.0)
        elif on_one_device(gradients := self.flat_gradients()):
            factor, square_norm = again(self._factor_on_device, gradients)
            again(setattr, self, "grad_norm", square_norm)
            self._update_all(factor)
        else:
            self.step_by(math.sqrt(square_sum(gradients)))
        return loss

    def step_by(self, norm: float | None, grad_scale: float = 1.0) -> None:
        """`step` where the `gradient_norm` of the gradients as they are is known, or nothing is clipped (None).

        grad_scale: multiplies the gradients, before they are clipped.
        """
        if norm is not None and self.clip_grad_norm is not None:
            self.grad_norm = norm * grad_scale
            grad_scale *= clip_factor(self.grad_norm, self.clip_grad_norm)
        self._update_all(grad_scale)

    def multiply_gradients(self, factor: float) -> None:
        """Multiply every gradient in place."""
        for gradient in self.flat_gradients():
            gradient *= factor

    def _factor_on_device(self, gradients: list) -> tuple:
        """What clipping multiplies gradients by, and the square of their norm: arrays of one number."""
        from ..kernels.cuda.optim import clip_factor as factor_of

        return factor_of(gradients, math.inf if self.clip_grad_norm is None else self.clip_grad_norm)

    def _update_all(self, grad_scale: Any) -> None:
        """Update by the gradients times a number, or an array of one number on their device."""
        if not same_parameters(self.param_groups, self._taken):
            self._follow_groups()
        stretches = [[s for block in blocks for s in block.stretches()] for blocks in self._blocks]
        again(self._update_stretches, list(zip(self.param_groups, stretches, strict=True)), grad_scale)

    def _update_stretches(self, groups: list[tuple[dict, list[Stretch]]], grad_scale: Any) -> None:
        """What a step does, and for a captured graph does again before each replay, for its rates and counts."""
        for group, stretches in groups:
            scale = -grad_scale if group["maximize"] else grad_scale
            for stretch in stretches:
                self._update(group, stretch, scale)
                stretch.change.again()

    def _stretches(self) -> list[Stretch]:
        """Those of all groups, of the parameters that have a gradient."""
        if not same_parameters(self.param_groups, self._taken):
            self._follow_groups()
        return [stretch for blocks in self._blocks for block in blocks for stretch in block.stretches()]

    def flat_gradients(self) -> list:
        """The gradients in their memory, as few flat arrays, whose zeros between parameters stay zero."""
        return [stretch.grad for stretch in self._stretches()]

    def gradient_norm(self) -> float:
        """sqrt(sum g^2) over every parameter that has a gradient; NaN or infinite where one of the numbers is."""
        return math.sqrt(square_sum(self.flat_gradients()))

    @property
    def grad_norm(self) -> float | None:
        """The norm that the last step clipped, before it did; None where it did not."""
        if on_device(self._grad_norm):
            self._grad_norm = math.sqrt(self._grad_norm.numpy()[0])
        return self._grad_norm

    @grad_norm.setter
    def grad_norm(self, norm: float | None) -> None:
        self._grad_norm = norm

    def to(self, device: Any) -> Optimizer:
        """Move the parameters to a device, "cpu" or "cuda", and their state with them. Returns self.

        ``model.to(device)`` moves the parameters too, and buffers; it may come before or after the optimizer is made.
        Gradients move too. Raises RuntimeError for a device that cannot be used, with the reason.
        """
        place = find(device)
        self._follow_groups()
        for block, i in self._located():
            p = block.parameters[i]
            if (array := moved(p.data, place)) is not p.data:
                p._rebind(array, None if p.grad is None else moved(p.grad, place))
        for blocks in self._blocks:
            for block in blocks:
                block.stretches()
        return self

    def _update(self, group: dict, stretch: Stretch, grad_scale: Any) -> None:
        raise NotImplementedError

    def _located(self) -> list[tuple[Block, int]]:
        """Each parameter's block and its place in it, in the order of the groups."""
        places = {id(p): (b, i) for blocks in self._blocks for b in blocks for i, p in enumerate(b.parameters)}
        return [places[id(p)] for group in self.param_groups for p in group["params"]]

    def state_dict(self) -> dict:
        """Everything a resumed run needs, as PyTorch lays it out: ``{"state": {i: {...}}, "param_groups": [...]}``, and
        ``clip_grad_norm``.

        ``state[i]`` holds copies of the arrays kept for parameter ``i``, in its shape, and its ``step`` count;
        parameters that have never been updated are absent.
        """
        self._follow_groups()
        state = {}
        for number, (block, i) in enumerate(self._located()):
            if block.steps[i]:
                arrays = {name: on_cpu(block.state_view(name, i)) for name in block.state_names()}
                numbers = {name: values[i] for name, values in block.numbers.items()}
                state[number] = {"step": block.steps[i], **numbers, **arrays}
        groups, places = [], iter(range(len(self._located())))
        for group in self.param_groups:
            options = {name: value for name, value in group.items() if name != "params"}
            groups.append({**options, "params": [next(places) for _ in group["params"]]})
        return {
            "state": state, "param_groups": groups, "clip_grad_norm": self.clip_grad_norm, "optimizer": self._name
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what `state_dict` gave: the following steps have the same bits.

        Raises ValueError, and changes nothing, where groups, parameters or shapes differ, and for the state of another
        optimizer. PyTorch's own states are welcome.
        """
        self._follow_groups()
        located, groups = self._located(), state_dict["param_groups"]
        self._check_kind(state_dict)
        ours, theirs = ([len(g["params"]) for g in gs] for gs in (self.param_groups, groups))
        if ours != theirs:
            raise ValueError(f"{self._name}: the state has groups of {theirs} parameters, this optimizer has {ours}")
        state = {int(number): entry for number, entry in state_dict["state"].items()}
        if foreign := sorted(set(state) - set(range(len(located)))):
            raise ValueError(f"{self._name}: the state has parameters {foreign}, this optimizer has {len(located)}")
        for number, (block, i) in enumerate(located):
            self._check_state(number, state.get(number, {}), block.parameters[i])
        options = [{name: _plain(saved[name]) for name in self.defaults if name in saved} for saved in groups]
        for group, changed in zip(self.param_groups, options, strict=True):
            self._check_options({**group, **changed})
        for group, changed in zip(self.param_groups, options, strict=True):
            group.update(changed)
        for number, (block, i) in enumerate(located):
            self._load_state(state.get(number, {}), block, i)
        self.clip_grad_norm = state_dict.get("clip_grad_norm", self.clip_grad_norm)

    def _check_kind(self, state_dict: dict) -> None:
        """Raise ValueError for the state of another optimizer, by its name or by the options that it has."""
        kind = state_dict.get("optimizer", self._name)
        if kind != self._name:
            raise ValueError(f"{self._name}: this is the state of another optimizer, {kind}; load it into one of these")
        ours = set(self.defaults) - _OURS_ALONE
        for saved in state_dict["param_groups"]:
            unknown = set(saved) - {"params", *self.defaults}
            unknown = {name for name in unknown if name not in _OFF or saved[name]} - _OF_NO_MATTER
            unknown |= self._foreign(saved)
            if faults := sorted(unknown | (ours - set(saved))):
                raise ValueError(
                    f"{self._name}: this is the state of another optimizer, or of other options: it has "
                    f"{', '.join(sorted(set(saved) - {'params'}))}, which differ in {', '.join(faults)}"
                )

    def _foreign(self, saved: dict) -> set[str]:
        """What tells PyTorch's Adam, AdamW and RAdam apart: the first two have amsgrad, RAdam chooses how it decays."""
        if "decoupled_weight_decay" in self.defaults:
            return {"amsgrad"} & set(saved)
        is_adam = "amsgrad" in saved or "decoupled_weight_decay" not in saved
        same = is_adam and saved.get("decoupled_weight_decay", self._decoupled) == self._decoupled
        return set() if same else {"decoupled_weight_decay"}

    def _check_state(self, number: int, entry: dict, parameter) -> None:
        for name, value in entry.items():
            if name not in ("step", *self._state_names, *self._number_names) and value is not None:
                raise ValueError(
                    f"{self._name}: the state of parameter {number} has {name}, this optimizer keeps "
                    f"{', '.join(self._state_names)}: it is that of another optimizer"
                )
            shape = () if name in self._number_names else parameter.shape
            if name != "step" and value is not None and np.shape(value) != shape:
                expected = f"must have shape {shape}, got {np.shape(value)}"
                raise ValueError(f"{self._name}: {name} of parameter {number} {expected}")

    def _load_state(self, entry: dict, block: Block, i: int) -> None:
        arrays = {name: value for name, value in entry.items() if name in self._state_names and value is not None}
        block.steps[i] = int(entry.get("step", bool(arrays)))
        for name in self._number_names:
            block.of_each(name)[i] = float(entry.get(name, 1.0))
        for name in dict.fromkeys((*arrays, *block.state_names())):  # in the order in which they were saved
            assign(block.state_view(name, i), arrays.get(name, 0))

    @property
    def _name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = []
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {value}" for name, value in group.items() if name != "params"]
        return "\n".join([f"{self._name} (", *lines, ")"])


def _blocks_of(parameters: list) -> list[Block]:
    by_dtype: dict = {}
    for p in parameters:
        by_dtype.setdefault(p.data.dtype, []).append(p)
    return [Block(group) for group in by_dtype.values()]


def _kind(value) -> str:
    return type(value).__name__


def _plain(value):
    return tuple(value) if isinstance(value, list) else value
