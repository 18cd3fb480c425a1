"""Everyday lines of PyTorch with nothing but the import changed: they run, and give what they give there."""

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl

A = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
POSITIVE = np.abs(A) + 0.5
LABELS = np.array([2, 0, 5, 1])
WIDE = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
SOFT = np.exp(A) / np.exp(A).sum(1, keepdims=True)

# Each takes the library and its x = tensor(A, requires_grad=True); the gradient of the sum of what it gives counts too.
LINES = {
    "sum": lambda lib, x: x.sum(dim=1),
    "sum keepdim": lambda lib, x: lib.sum(x, dim=0, keepdim=True),
    "mean": lambda lib, x: x.mean(dim=(0, 1)),
    "mean list": lambda lib, x: x.mean(dim=[0, 1], keepdim=True),
    "std": lambda lib, x: x.std(dim=1, unbiased=False),
    "std correction": lambda lib, x: x.std(dim=0, correction=1),
    "var": lambda lib, x: x.var(dim=1, unbiased=True, keepdim=True),
    "max": lambda lib, x: x.max(),
    "min": lambda lib, x: x.min(),
    "norm": lambda lib, x: x.norm(),
    "norm p": lambda lib, x: x.norm(p=1, dim=1) + x.norm(p=3, dim=1) + lib.norm(x, dim=1, keepdim=True)[:, 0],
    "cumsum": lambda lib, x: x.cumsum(dim=1) + lib.cumsum(x, dim=0),
    "softmax": lambda lib, x: x.softmax(dim=1) * lib.softmax(x, dim=-1),
    "F.softmax": lambda lib, x: lib.nn.functional.softmax(x, dim=0) * x,
    "log_softmax": lambda lib, x: lib.nn.functional.log_softmax(x, dim=1),
    "nn.Softmax": lambda lib, x: lib.nn.Softmax(dim=1)(x) * x + lib.nn.LogSoftmax(dim=0)(x),
    "view": lambda lib, x: x.view(-1, 3).view(2, -1) * 2,
    "flatten": lambda lib, x: x.view(2, 2, 6).flatten(start_dim=1) * lib.flatten(x).view(2, 12),
    "reshape size": lambda lib, x: x.view(x.size(0), -1, 2) * 3,
    "shape unpacked": lambda lib, x: x.reshape(x.shape[1], x.size()[0]),
    "transpose": lambda lib, x: x.t() @ x + lib.transpose(x, 0, 1) @ x,
    "permute": lambda lib, x: x.view(2, 2, 6).permute(2, 0, 1) * 2,
    "unsqueeze": lambda lib, x: x.unsqueeze(1).squeeze(1) + x.unsqueeze(dim=0).squeeze(),
    "expand": lambda lib, x: x[:, :1].expand(-1, 5) + x[:1, :1].expand(4, 5),
    "expand_as": lambda lib, x: x[0].expand_as(x) * x,
    "cat": lambda lib, x: lib.cat([x, x * 2], dim=1) * 2,
    "stack": lambda lib, x: lib.stack([x, x * x], dim=0) * 3,
    "chunk": lambda lib, x: x.chunk(2, dim=1)[0] * lib.chunk(x, 2, dim=1)[1],
    "split": lambda lib, x: x.split(4, dim=1)[1] * x.split([2, 4], dim=1)[0],
    "where": lambda lib, x: lib.where(x > 0, x, lib.zeros_like(x)) + lib.where(x > 0, 1.0, x),
    "masked_fill": lambda lib, x: x.masked_fill(x < 0, 0.5),
    "boolean index": lambda lib, x: x[x > 0] * 2,
    "clamp": lambda lib, x: x.clamp(min=-0.5, max=0.5) + lib.clamp(x, 0, 1),
    "clone": lambda lib, x: x.clone() * x.detach(),
    "chain": lambda lib, x: x.abs().sqrt().log().exp().tanh().pow(2).sigmoid().relu(),
    "functions": lambda lib, x: lib.exp(x) + lib.tanh(x) + lib.abs(x) + lib.sqrt(x * x + 1) + lib.relu(x),
    "matmul": lambda lib, x: lib.matmul(x, lib.tensor(WIDE)) + x.mm(lib.tensor(WIDE)),
    "maximum": lambda lib, x: lib.maximum(x, x * 2) + lib.minimum(x, lib.ones(4, 6)),
    "in place": lambda lib, x: in_place(x),
    "item assignment": lambda lib, x: assigned(x),
    "relu inplace": lambda lib, x: lib.nn.Sequential(lib.nn.ReLU(inplace=True))(x * 2) + lib.relu(x),
    "activations inplace": lambda lib, x: inplace_activations(lib, x),
    "functional inplace": lambda lib, x: lib.nn.functional.relu(x * 1, inplace=True),
    "cross_entropy": lambda lib, x: lib.nn.functional.cross_entropy(x, lib.tensor(LABELS)),
    "soft labels": lambda lib, x: lib.nn.CrossEntropyLoss(label_smoothing=0.1)(x, lib.tensor(SOFT)),
    "soft labels weighted": lambda lib, x: lib.nn.functional.cross_entropy(
        x, lib.tensor(SOFT), weight=lib.arange(6.0), reduction="none"
    ),
    "label_smoothing=1": lambda lib, x: lib.nn.functional.cross_entropy(x, lib.tensor(LABELS), label_smoothing=1.0),
    "dropout p=1": lambda lib, x: lib.nn.functional.dropout(x, p=1.0, training=True) + lib.nn.Dropout(1.0)(x),
    "dropout in evaluation": lambda lib, x: lib.nn.Dropout(0.5, inplace=True).eval()(x),
    "casts": lambda lib, x: x.double().float().to(lib.float32).to("cpu").to(dtype=lib.float32).cpu(),
    "to device": lambda lib, x: x.to(device_of(lib)) * lib.ones(4, 6, device=device_of(lib)),
    "hand-written linear": lambda lib, x: x @ lib.ones(3, 6).t() + lib.zeros(3),
    "mse": lambda lib, x: ((x - lib.full((4, 6), 0.5)) ** 2).mean(),
    "eye": lambda lib, x: x @ lib.eye(6) - lib.ones_like(x),
    "linspace": lambda lib, x: x * lib.linspace(0, 1, 6),
    "as_tensor": lambda lib, x: x * lib.as_tensor(A) + lib.from_numpy(A),
}  # fmt: skip

# Lines without a gradient.
VALUES = {
    "argmax": lambda lib, x: x.argmax(dim=1),
    "argmax of all": lambda lib, x: lib.argmax(x),
    "argmin": lambda lib, x: x.argmin(dim=0, keepdim=True),
    "accuracy": lambda lib, x: (x.argmax(1) == lib.tensor(LABELS)).float().mean(),
    "correct": lambda lib, x: (x.argmax(dim=-1) == lib.tensor(LABELS)).sum().item(),
    "numel": lambda lib, x: [x.numel(), x.dim(), *x.size(), x.size(-1), lib.numel(x)],
    "item": lambda lib, x: x.sum().item(),
    "arange": lambda lib, x: lib.arange(3).tolist() + lib.arange(1, 7, 2).tolist() + lib.arange(0.0, 1, 0.25).tolist(),
    "dtypes": lambda lib, x: [
        str(t.dtype).rpartition(".")[2]
        for t in (
            *(lib.tensor([1]), lib.tensor([1.0]), lib.ones(2), lib.tensor([True]), x > 0, x.long(), lib.eye(2)),
            *(lib.full((2,), 1), lib.zeros(2, dtype=lib.long)),
        )
    ],
    "full_like": lambda lib, x: lib.full_like(x, 7).sum(),
    "shapes": lambda lib, x: [*lib.randn(2, 3).shape, *lib.rand((4, 5)).shape, *lib.randn_like(x).shape,
                              *lib.randint(0, 9, (2, 2)).shape, lib.randperm(7).sum().item()],
    "all any": lambda lib, x: [bool((x > -9).all()), bool((x > 9).any()), lib.is_tensor(x), lib.equal(x, x),
                               lib.allclose(x, x + 1e-9), x.is_leaf, (x * 2).is_leaf],
    "logic": lambda lib, x: ((x > 0) & (x < 1) | ~(x > -1)).sum(),
    "training loop": lambda lib, x: train(lib),
    "grad modes": lambda lib, x: modes(lib, x),
    "state dict": lambda lib, x: sorted(lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.ReLU()).state_dict()),
}  # fmt: skip


def in_place(x):
    y = x * 1
    y += x
    y *= 2
    y -= 1
    y /= 4
    return y.add_(x).mul_(2).sub_(1)


def assigned(x):
    y = x * 2
    y[0] = 1.0
    y[1:3, 2] = x[1:3, 0] * 3
    y[:, 5] += 1
    return y


def inplace_activations(lib, x):
    nn, total = lib.nn, 0
    for part in (nn.ELU(inplace=True), nn.LeakyReLU(0.1, True), nn.SiLU(inplace=True), nn.Hardswish(inplace=True)):
        y = x * 1
        part(y)  # it is y that changes
        total = total + y
    return total


def device_of(lib):
    return lib.device("cuda" if lib.cuda.is_available() else "cpu")


def train(lib):
    """A loop as in PyTorch's tutorials, from given weights."""
    nn = lib.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 6)])
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            for layer in self.layers[:-1]:
                x = self.act(layer(x))
            return self.layers[-1](x)

    model, device = Net(), device_of(lib)
    model.to(device)
    rng = np.random.default_rng(3)
    with lib.no_grad():
        for p in model.parameters():
            p.copy_(lib.tensor(rng.standard_normal(tuple(p.shape)).astype(np.float32)))
    optimizer = lib.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    inputs, labels = lib.tensor(A).to(device), lib.tensor(LABELS).to(device)
    losses = []
    for _ in range(5):
        model.train()
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(model(inputs), labels)
        loss.backward(retain_graph=False)
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with lib.no_grad():
        predicted = model(inputs).argmax(dim=1)
        losses.append((predicted == labels).sum().item() / labels.size(0))
        for p in model.parameters():
            p -= 0.1 * p
        losses.append(sum(p.abs().sum().item() for p in model.parameters()))
    return losses


def modes(lib, x):
    @lib.no_grad()
    def silent():
        return (x * 2).requires_grad

    with lib.no_grad():
        inner = [(x * 2).requires_grad, lib.is_grad_enabled()]
        with lib.enable_grad():
            inner.append((x * 2).requires_grad)
    return [silent(), *inner, (x * 2).requires_grad, x.detach().requires_grad]


def result(lib, line, gradient):
    lib.manual_seed(0)
    x = lib.tensor(A, requires_grad=True)
    y = line(lib, x)
    if not gradient:
        return [np.asarray(y.detach() if hasattr(y, "detach") else y)]
    y.sum().backward()
    return [np.asarray(y.detach()), np.asarray(x.grad)]


CASES = [(name, line, line in LINES.values()) for name, line in {**LINES, **VALUES}.items()]
EACH = pytest.mark.parametrize(("line", "gradient"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])


@EACH
def test_it_runs(line, gradient):
    for found in result(dl, line, gradient):
        assert found.dtype.kind in "fiubU"


@needs_torch
@EACH
def test_it_gives_what_pytorch_gives(line, gradient):
    for found, expected in zip(result(dl, line, gradient), result(torch, line, gradient), strict=True):
        assert found.shape == expected.shape
        assert found.dtype.kind == expected.dtype.kind
        if found.dtype.kind == "U":
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def test_there_are_more_than_twenty():
    assert len(CASES) > 60
