"""The rows of `dlfast bench --device cuda`, with the targets that dlfast is to reach on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from .. import cuda, models, nn, optim
from .. import functional as F
from ..random import manual_seed
from ..tensor import Tensor
from .rows import Group, OperationStep, Row, Step, normal

COPY_SHARE = 0.85  # of what a copy reaches, for kernels that memory limits
LR = 1e-3


@dataclass(frozen=True)
class Usual:
    """Sizes that fill a large GPU."""

    numbers: int = 1 << 26
    rows: int = 8192
    image: tuple[int, int, int, int] = (64, 56, 56, 128)
    product: int = 4096
    copied: int = 1 << 28
    batch: int = 128
    sequence: tuple[int, int, int, int] = (128, 64, 128, 256)  # steps, batch, features, hidden
    calls: int = 20


@dataclass(frozen=True)
class Tiny(Usual):
    """Sizes on which the CPU can play the GPU."""

    numbers: int = 1 << 10
    rows: int = 8
    image: tuple[int, int, int, int] = (1, 6, 6, 8)
    product: int = 16
    copied: int = 1 << 10
    batch: int = 4
    sequence: tuple[int, int, int, int] = (3, 2, 4, 5)
    calls: int = 1


class DeviceWork(Protocol):
    """The work of a row: contenders on the same values, by name; "cuda" is dlfast on the device."""

    def on_cpu(self) -> Step: ...

    def ours(self, device: Any) -> dict[str, Step]: ...

    def theirs(self, torch: Any, device: str) -> dict[str, Step]: ...


class DeviceRow(Row):
    """A row whose work is a `DeviceWork`."""

    work: Callable[[], Any]


def moved(x: Any, device: Any) -> Any:
    """An array on the device, None for the CPU."""
    return x if device is None else device.upload(x)


def to_array(x: Any) -> np.ndarray:
    """A Tensor, an array of ours, or a tensor of PyTorch, as an array of NumPy."""
    if isinstance(x, Tensor):
        x = x.data
    if isinstance(x, np.ndarray):
        return x
    return x.detach().cpu().numpy() if hasattr(x, "detach") else x.numpy()


@dataclass
class Operation:
    """An operation with all gradients of its arrays: dlfast(*tensors, *constants), and the same in PyTorch.

    constants: arrays without a gradient, as labels. pytorch(torch, *tensors) takes images channels first.
    """

    shapes: Sequence[tuple[int, ...]]
    output: tuple[int, ...]
    dlfast: Callable[..., Tensor]
    pytorch: Callable[..., Any] | None = None
    constants: Sequence[np.ndarray] = ()
    methods: Sequence[str] = ()  # of a convolution, each a contender of its own

    def values(self) -> tuple[list[np.ndarray], np.ndarray]:
        rng = np.random.default_rng(0)
        arrays = [normal(rng, shape) for shape in (*self.shapes, self.output)]
        return [x / np.float32(max(x.shape[-1], 1) ** 0.25) for x in arrays[:-1]], arrays[-1]

    def step(self, device: Any, **options) -> OperationStep:
        arrays, dy = self.values()
        tensors = [Tensor(moved(x, device), requires_grad=True) for x in arrays]
        constants = [moved(x, device) for x in self.constants]

        def function(*given):
            return self.dlfast(*given, *constants, **options)

        return OperationStep(function, tensors, moved(dy, device), to_array)

    def on_cpu(self) -> Step:
        return self.step(None)

    def ours(self, device: Any) -> dict[str, Step]:
        steps: dict[str, Step] = {"cuda": self.step(device)}
        for method in self.methods:
            try:
                step = self.step(device, method=method)
                step()
            except (ValueError, RuntimeError):  # not installed, or not for this shape
                continue
            steps[f"cuda {method}"] = step
        return steps

    def theirs(self, torch: Any, device: str) -> dict[str, Step]:
        pytorch = self.pytorch
        if pytorch is None:
            return {}
        arrays, dy = self.values()

        def put(x):
            x = torch.from_numpy(x).to(device)
            return x.permute(0, 3, 1, 2) if x.ndim == 4 else x  # channels last in memory

        tensors = [put(x).requires_grad_() for x in arrays]
        constants = [torch.from_numpy(x).to(device) for x in self.constants]

        def back(x):
            return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).detach().cpu().numpy()

        def function(*given):
            return pytorch(torch, *given, *constants)

        return {"PyTorch": OperationStep(function, tensors, put(dy), back)}


class _Updating:
    """Steps of an optimizer on one large parameter with the same gradient; results: it after one step."""

    def __init__(self, start: Callable[[], tuple[Any, Callable[[], object]]]):
        self.start = start
        self.parameter, self.step = start()

    def __call__(self) -> object:
        return self.step()

    def results(self) -> list[np.ndarray]:
        parameter, step = self.start()
        step()
        return [to_array(parameter)]


@dataclass
class Update:
    """Adam on so many numbers."""

    numbers: int
    clip: float | None = None

    def _ours(self, device: Any) -> tuple[Any, Callable[[], object]]:
        rng = np.random.default_rng(0)
        module = nn.Linear(self.numbers // 8, 8, bias=False)
        module.weight.data[...] = normal(rng, (8, self.numbers // 8))
        if device is not None:
            module.to(str(device))
        module.weight.grad = Tensor(moved(normal(rng, (8, self.numbers // 8)), device)).data
        optimizer = optim.Adam(module.parameters(), lr=LR, clip_grad_norm=self.clip)
        return module.weight, optimizer.step

    def on_cpu(self) -> Step:
        return _Updating(partial(self._ours, None))

    def ours(self, device: Any) -> dict[str, Step]:
        return {"cuda": _Updating(partial(self._ours, device))}

    def theirs(self, torch: Any, device: str) -> dict[str, Step]:
        def start(**options):
            rng = np.random.default_rng(0)
            shape = (8, self.numbers // 8)
            parameter = torch.nn.Parameter(torch.from_numpy(normal(rng, shape)).to(device))
            parameter.grad = torch.from_numpy(normal(rng, shape)).to(device)
            optimizer = torch.optim.Adam([parameter], lr=LR, **options)

            def step():
                if self.clip is not None:
                    torch.nn.utils.clip_grad_norm_([parameter], self.clip)
                optimizer.step()

            return parameter, step

        fused = partial(start, fused=True)
        return {"PyTorch default": _Updating(start), "PyTorch fused": _Updating(fused)}


class _Training:
    """Training steps of a network; results: the loss of the first."""

    def __init__(self, start: Callable[[], Callable[[], Any]]):
        self.start, self.step = start, start()

    def __call__(self) -> object:
        return self.step()

    def results(self) -> list[np.ndarray]:
        return [to_array(self.start()())]


@dataclass
class Training:
    """A training step with Adam, as it is and captured in a graph. twin(torch): the network in PyTorch, our values."""

    model: Callable[[], nn.Module]
    x: np.ndarray
    labels: np.ndarray
    twin: Callable[[Any, nn.Module], Any] | None = None
    captured: bool = True

    def _step(self, device: Any, captured: bool = False) -> Callable[[], Any]:
        manual_seed(0)
        model = self.model()
        if device is not None:
            model = model.to(str(device))
        optimizer = optim.Adam(model.parameters(), lr=LR)
        x, labels = Tensor(moved(self.x, device)), Tensor(moved(self.labels, device))

        def step(x, labels):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        return partial(cuda.graph(step) if captured else step, x, labels)

    def on_cpu(self) -> Step:
        return _Training(partial(self._step, None))

    def ours(self, device: Any) -> dict[str, Step]:
        steps: dict[str, Step] = {"cuda": _Training(partial(self._step, device))}
        if self.captured:
            steps["cuda graph"] = _Training(partial(self._step, device, True))
        return steps

    def theirs(self, torch: Any, device: str) -> dict[str, Step]:
        twin = self.twin
        if twin is None:
            return {}

        def start():
            manual_seed(0)
            net = twin(torch, self.model()).to(device)
            optimizer = torch.optim.Adam(net.parameters(), lr=LR)
            x, labels = torch.from_numpy(self.x).to(device), torch.from_numpy(self.labels).to(device)

            def step():
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(net(x), labels)
                loss.backward()
                optimizer.step()
                return loss

            return step

        return {"PyTorch": _Training(start)}


@dataclass
class Sequence_:
    """An LSTM over a whole sequence, beside a loop of cells with the same values."""

    steps: int
    batch: int
    features: int
    hidden: int

    def _step(self, device: Any, loop: bool = False) -> OperationStep:
        rng = np.random.default_rng(0)
        rows = 4 * self.hidden
        shapes = [(self.steps, self.batch, self.features), (rows, self.features), (rows, self.hidden), (rows,), (rows,)]
        arrays = [normal(rng, shape) / np.float32(shape[-1] ** 0.5) for shape in shapes]
        dy = normal(rng, (self.steps, self.batch, self.hidden))
        tensors = [Tensor(moved(x, device), requires_grad=True) for x in arrays]
        return OperationStep(self._loop if loop else _whole, tensors, moved(dy, device), to_array)

    def _loop(self, x, *parameters):
        h = c = Tensor(np.zeros_like(x.data, shape=(self.batch, self.hidden)))
        outputs = []
        for step in range(self.steps):
            h, c = F.lstm_cell(x[step], (h, c), *parameters)
            outputs.append(h)
        return F.stack(outputs)

    def on_cpu(self) -> Step:
        return self._step(None)

    def ours(self, device: Any) -> dict[str, Step]:
        return {"cuda": self._step(device), "cell loop": self._step(device, True)}

    def theirs(self, torch: Any, device: str) -> dict[str, Step]:
        return {}


def _whole(x, *parameters):
    return F.lstm(x, None, *parameters)[0]


def _torch_mlp(torch, model):
    layers = []
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            linear = torch.nn.Linear(layer.in_features, layer.out_features)
            linear.weight.data.copy_(torch.from_numpy(layer.weight.numpy()))
            if layer.bias is not None:
                linear.bias.data.copy_(torch.from_numpy(layer.bias.numpy()))
            layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _row(name: str, work: Callable, *, flops: float = 0, targets=None, copy_share=None, tolerance=1e-3) -> DeviceRow:
    return DeviceRow(name, work, flops=flops, targets=targets, copy_share=copy_share, tolerance=tolerance)


def _memory_bound(name: str, shapes, output, ours, theirs, constants=()) -> DeviceRow:
    work = partial(Operation, shapes, output, ours, theirs, constants)
    return _row(name, work, targets={"PyTorch": 1.0}, copy_share=COPY_SHARE)


def _bandwidth(size: Usual) -> list[DeviceRow]:
    n, rows, columns = size.numbers, size.rows, size.numbers // size.rows
    images, channels = size.image, size.image[-1]
    half = (images[0], images[1] // 2, images[2] // 2, channels)
    labels = np.arange(rows) * 7 % columns
    return [
        _memory_bound("ReLU", [(n,)], (n,), F.relu, lambda torch, x: torch.relu(x)),
        _memory_bound("GELU", [(n,)], (n,), F.gelu, lambda torch, x: torch.nn.functional.gelu(x)),
        _memory_bound("softmax", [(rows, columns)], (rows, columns), F.softmax,
                      lambda torch, x: torch.softmax(x, -1)),
        _memory_bound("softmax + cross-entropy", [(rows, columns)], (), F.cross_entropy,
                      lambda torch, x, y: torch.nn.functional.cross_entropy(x, y), [labels]),
        _memory_bound("layer norm", [(rows, columns), (columns,), (columns,)], (rows, columns),
                      lambda x, w, b: F.layer_norm(x, w.shape, w, b),
                      lambda torch, x, w, b: torch.nn.functional.layer_norm(x, w.shape, w, b)),
        _memory_bound("batch norm", [images, (channels,), (channels,)], images,
                      lambda x, w, b: F.batch_norm(x, weight=w, bias=b, training=True),
                      lambda torch, x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, training=True)),
        _memory_bound("max-pool 2x2", [images], half, lambda x: F.max_pool2d(x, 2),
                      lambda torch, x: torch.nn.functional.max_pool2d(x, 2)),
    ]  # fmt: skip


def _products(size: Usual) -> list[DeviceRow]:
    n = size.product
    images, c = size.image, size.image[-1]
    pixels = images[0] * images[1] * images[2]

    def linear_relu(torch, x, w, b):
        return torch.relu(torch.nn.functional.linear(x, w, b))

    def conv(groups, torch, x, w, b):
        return torch.nn.functional.conv2d(x, w, b, padding=1, groups=groups)

    return [
        _row("linear + bias + ReLU", partial(Operation, [(n, n), (n, n), (n,)], (n, n),
             partial(F.linear, activation="relu"), linear_relu), flops=6.0 * n**3, targets={"PyTorch": 1.1},
             tolerance=2e-2),
        _row("convolution 3x3", partial(Operation, [images, (c, 3, 3, c), (c,)], images, partial(F.conv2d, padding=1),
             partial(conv, 1), methods=("implicit", "im2col", "cudnn")), flops=54.0 * pixels * c * c,
             targets={"PyTorch": 0.95}),
        _row("depthwise convolution 3x3", partial(Operation, [images, (c, 3, 3, 1), (c,)], images,
             partial(F.conv2d, padding=1, groups=c), partial(conv, c)), flops=54.0 * pixels * c,
             targets={"PyTorch": 1.0}),
    ]  # fmt: skip


def _networks(size: Usual) -> list[DeviceRow]:
    rng = np.random.default_rng(0)
    batch, steps = size.batch, 16 if isinstance(size, Tiny) else 256
    wide, layers = (16, 1) if isinstance(size, Tiny) else (512, 6)
    x, labels = normal(rng, (batch, 784)), rng.integers(0, 10, batch)
    codes, following = rng.integers(0, 64, (batch // 4, steps)), rng.integers(0, 64, (batch // 4, steps))
    gpt = partial(models.gpt, 64, context=steps, d_model=wide, nhead=2 if wide == 16 else 8, num_layers=layers,
                  dropout=0.0)  # fmt: skip
    return [
        _row("training step, MLP 784-128-64-10", partial(Training, partial(models.mlp, 784, 128, 64, 10), x, labels,
             _torch_mlp), targets={"PyTorch": 3.0}),
        _row("training step, GPT", partial(Training, gpt, codes, following)),
        _row("LSTM, a whole sequence", partial(Sequence_, *size.sequence), targets={"cell loop": 2.0}),
    ]  # fmt: skip


def _updates(size: Usual) -> list[DeviceRow]:
    targets = {"PyTorch default": 2.0, "PyTorch fused": 1.0}
    return [
        _row("Adam", partial(Update, size.numbers), targets=targets, copy_share=COPY_SHARE),
        _row("clip by norm + Adam", partial(Update, size.numbers, 1.0), targets=targets),
    ]


def groups(size: Usual) -> list[Group]:
    return [
        Group("what memory limits", _bandwidth(size)),
        Group("products and convolutions", _products(size)),
        Group("optimizers", _updates(size)),
        Group("networks", _networks(size)),
    ]
