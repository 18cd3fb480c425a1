"""Our networks in PyTorch: the same layers with the same values. Imported only where PyTorch is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import numpy as np
import torch

from .. import nn
from ..models.resnet import PadShortcut
from .networks import LR, without_dropout
from .pytorch import LAYOUTS, array, tensor
from .rows import Step


def training_steps(model: nn.Module, x: np.ndarray, y: np.ndarray) -> dict[str, Step]:
    """The training step on x with labels y, by name of PyTorch's layouts."""
    return _by_layout(lambda layout: TrainingStep(Twin(model, x, layout), y), x)


def inference_steps(model: nn.Module, x: np.ndarray) -> dict[str, Step]:
    """The forward pass of x in evaluation mode."""
    return _by_layout(lambda layout: InferenceStep(Twin(model, x, layout)), x)


def _by_layout(step: Callable[[str], Step], x: np.ndarray) -> dict[str, Step]:
    if x.ndim != 4:
        return {"PyTorch": step("NCHW")}
    return {f"PyTorch {layout}": step(layout) for layout in LAYOUTS}


class TrainingStep:
    """Forward, cross-entropy, backward and fused Adam."""

    def __init__(self, twin: Twin, y: np.ndarray):
        self.twin, self.labels = twin, torch.from_numpy(y)
        self.optimizer = torch.optim.Adam(twin.net.parameters(), lr=LR, fused=True)

    def __call__(self) -> float:
        loss = torch.nn.functional.cross_entropy(self.twin.net(self.twin.x), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def results(self) -> list[np.ndarray]:
        self.twin.reset()
        with without_dropout(self.twin.net, torch.nn.Dropout):
            loss = self()
        return [np.array(loss), *self.twin.gradients()]


class InferenceStep:
    def __init__(self, twin: Twin):
        self.twin = twin
        twin.net.eval()

    def __call__(self) -> torch.Tensor:
        with torch.inference_mode():
            return self.twin.net(self.twin.x)

    def results(self) -> list[np.ndarray]:
        return [array(self())]


class Twin:
    """A network in PyTorch with the values of ours, and a batch x, in one of the image layouts."""

    def __init__(self, model: nn.Module, x: np.ndarray, layout: str):
        self.x = tensor(x, layout)
        self.net = converted(model).to(memory_format=LAYOUTS[layout])
        self.start = [p.data.copy() for p in model.parameters()]
        self.flattened = _flattened(self.net, self.x)
        self.reset()

    def reset(self) -> None:
        """Give all parameters the values that ours had at first."""
        with torch.no_grad():
            for own, value in zip(self.net.parameters(), self.start, strict=True):
                image = self.flattened.get(own)
                own.copy_(tensor(value if image is None else _channels_first(value, image), "NCHW"))

    def gradients(self) -> list[np.ndarray]:
        """In our axis order."""
        pairs = [(array(own.grad), self.flattened.get(own)) for own in self.net.parameters()]
        return [value if image is None else _channels_last(value, image) for value, image in pairs]


def _flattened(net: torch.nn.Module, x: torch.Tensor) -> dict[torch.nn.Parameter, torch.Size]:
    """(channels, height, width) of images that a Flatten lays out for a Linear, by the weight of that Linear."""
    modules, shapes = list(net.modules()), {}

    def note(module, inputs, output):
        shapes[module] = inputs[0].shape[1:]

    hooks = [module.register_forward_hook(note) for module in modules if isinstance(module, torch.nn.Flatten)]
    with torch.no_grad():
        net.eval()(x)
    net.train()
    for hook in hooks:
        hook.remove()
    following = {module: modules[modules.index(module) :] for module in shapes}
    weights = {
        m: next(each.weight for each in row if isinstance(each, torch.nn.Linear)) for m, row in following.items()
    }
    return {weights[module]: shape for module, shape in shapes.items() if len(shape) == 3}


def _channels_first(weight: np.ndarray, image: torch.Size) -> np.ndarray:
    channels, height, width = image
    return weight.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(weight.shape)


def _channels_last(weight: np.ndarray, image: torch.Size) -> np.ndarray:
    return weight.reshape(-1, *image).transpose(0, 2, 3, 1).reshape(weight.shape)


@singledispatch
def converted(module: nn.Module) -> torch.nn.Module:
    """The same module in PyTorch, its parameters with values of their own. TypeError for kinds that are not known."""
    raise TypeError(f"converted: {type(module).__name__} has no counterpart in PyTorch here")


@converted.register
def _linear(module: nn.Linear) -> torch.nn.Module:
    return torch.nn.Linear(module.in_features, module.out_features, module.bias is not None)


@converted.register
def _conv2d(module: nn.Conv2d) -> torch.nn.Module:
    options = {"dilation": module.dilation, "groups": module.groups, "bias": module.bias is not None}
    channels = module.in_channels, module.out_channels
    return torch.nn.Conv2d(*channels, module.kernel_size, module.stride, module.padding, **options)


@converted.register
def _batch_norm2d(module: nn.BatchNorm2d) -> torch.nn.Module:
    return torch.nn.BatchNorm2d(module.num_features, module.eps, module.momentum, module.affine)


@converted.register
def _max_pool2d(module: nn.MaxPool2d) -> torch.nn.Module:
    return torch.nn.MaxPool2d(
        module.kernel_size, module.stride, module.padding, module.dilation, ceil_mode=module.ceil_mode
    )


@converted.register
def _avg_pool2d(module: nn.AvgPool2d) -> torch.nn.Module:
    return torch.nn.AvgPool2d(
        module.kernel_size, module.stride, module.padding, module.ceil_mode, module.count_include_pad
    )


@converted.register
def _adaptive_avg_pool2d(module: nn.AdaptiveAvgPool2d) -> torch.nn.Module:
    return torch.nn.AdaptiveAvgPool2d(module.output_size)


@converted.register
def _relu(module: nn.ReLU) -> torch.nn.Module:
    return torch.nn.ReLU(inplace=True)  # as torchvision's networks have it: it saves a pass over fresh memory


@converted.register
def _tanh(module: nn.Tanh) -> torch.nn.Module:
    return torch.nn.Tanh()


@converted.register
def _sigmoid(module: nn.Sigmoid) -> torch.nn.Module:
    return torch.nn.Sigmoid()


@converted.register
def _leaky_relu(module: nn.LeakyReLU) -> torch.nn.Module:
    return torch.nn.LeakyReLU(module.negative_slope, inplace=True)


@converted.register
def _gelu(module: nn.GELU) -> torch.nn.Module:
    return torch.nn.GELU(module.approximate)


@converted.register
def _dropout(module: nn.Dropout) -> torch.nn.Module:
    return torch.nn.Dropout(module.p)


@converted.register
def _flatten(module: nn.Flatten) -> torch.nn.Module:
    return torch.nn.Flatten(module.start_dim, module.end_dim)


@converted.register
def _sequential(module: nn.Sequential) -> torch.nn.Module:
    return torch.nn.Sequential(*(converted(child) for child in module))


@converted.register
def _residual(module: nn.Residual) -> torch.nn.Module:
    shortcut = torch.nn.Identity() if module.shortcut is None else converted(module.shortcut)
    return _Residual([converted(child) for child in module], shortcut, module.activation)


@converted.register
def _pad_shortcut(module: PadShortcut) -> torch.nn.Module:
    return _PadShortcut(module.more, module.stride)


class _Residual(torch.nn.Module):
    def __init__(self, layers: list[torch.nn.Module], shortcut: torch.nn.Module, activation: str | None):
        super().__init__()
        self.layers, self.shortcut = torch.nn.Sequential(*layers), shortcut
        self.activation = getattr(torch, f"{activation}_") if activation else torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)
        y += self.shortcut(x)
        return self.activation(y)


class _PadShortcut(torch.nn.Module):
    """Option A of He et al. 2016, section 3.3."""

    def __init__(self, more: int, stride: int):
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
