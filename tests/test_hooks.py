"""Forward hooks; and modules where they are hard to find: under two names, in plain lists, in dictionaries."""

import copy
import warnings
from collections import OrderedDict

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl
from dlfast import nn, optim
from dlfast.tensor import Tensor

X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def test_hooks_see_and_replace_arguments_and_outputs():
    layer, seen = nn.Linear(3, 2), []
    handles = [
        layer.register_forward_pre_hook(lambda module, args: seen.append((module, args))),
        layer.register_forward_pre_hook(lambda module, args: args[0] * 2),
        layer.register_forward_hook(lambda module, args, output: seen.append(output)),
        layer.register_forward_hook(lambda module, args, output: output + 1),
        layer.register_forward_pre_hook(lambda module, args, kwargs: (args, {}), with_kwargs=True),
        layer.register_forward_hook(lambda module, args, kwargs, output: None, with_kwargs=True),
        layer.register_forward_hook(lambda module, args, output: seen.append("first"), prepend=True),
    ]
    y = layer(X)
    assert seen[0] == (layer, (X,))
    assert seen[1] == "first"
    np.testing.assert_allclose(seen[2], layer.forward(2 * X), rtol=1e-6)
    np.testing.assert_allclose(y, layer.forward(2 * X) + 1, rtol=1e-6)
    for handle in handles:
        handle.remove()
        handle.remove()
    np.testing.assert_array_equal(layer(X), layer.forward(X))
    with layer.register_forward_hook(lambda module, args, output: 0):
        assert layer(X) == 0
    assert layer(X).shape == (5, 2)
    with pytest.raises(TypeError, match="a hook must be a function"):
        layer.register_forward_hook(3)


@pytest.mark.parametrize("hooked", range(7))
def test_hooks_of_modules_that_a_sequential_would_fuse(hooked):
    parts = [
        nn.Conv2d(1, 3, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 2, 2),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Flatten(),
    ]
    model = nn.Sequential(*parts).eval()
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 1)).astype(np.float32)
    expected, seen = model(x).numpy(), []
    handle = parts[hooked].register_forward_hook(lambda module, args, output: seen.append(output.numpy()))
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)
    plain = Tensor(x)
    for part in parts[: hooked + 1]:
        plain = part.forward(plain)
    np.testing.assert_allclose(seen[0], plain, rtol=1e-5, atol=1e-6)
    handle.remove()
    model(x)
    assert len(seen) == 1
    assert len(model._planned()) < len(parts)


@pytest.mark.parametrize("library", [nn, pytest.param(torch and torch.nn, marks=needs_torch)])
def test_a_module_under_two_names(library):
    one, act = library.Linear(3, 3), library.ReLU()
    row = library.Sequential(one, act, one)
    assert list(row.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [name for name, _ in row.named_parameters()] == ["0.weight", "0.bias"]
    assert len(list(row.parameters())) == 2
    assert [name for name, _ in row.named_modules()] == ["", "0", "1"]
    assert [name for name, _ in row.named_children()] == ["0", "1"]
    assert len(row) == 3
    assert len(list(row)) == 3
    row.load_state_dict(row.state_dict())
    norm = library.BatchNorm1d(3)
    pair = library.ModuleDict({"a": norm, "b": norm})
    assert len(list(pair.named_buffers())) == 3
    assert len(pair.state_dict()) == 10


def test_the_last_of_two_values_for_one_weight_counts():
    one = nn.Linear(1, 1)
    row = nn.Sequential(one, one)
    row.load_state_dict({**row.state_dict(), "1.weight": np.full((1, 1), 7.0)})
    assert one.weight.item() == 7


def test_a_shared_layer_learns_once():
    one = nn.Linear(3, 3)
    row = nn.Sequential(one, nn.ReLU(), one)
    row(X).sum().backward()
    optim.SGD(row.parameters(), lr=0.1).step()
    assert repr(row).count("Linear") == 2


def test_a_link_to_the_parent_is_no_loop():
    class Child(nn.Module):
        def __init__(self, parent):
            self.parent, self.layer = parent, nn.Linear(2, 2)

    parent = nn.Module()
    parent.child = Child(parent)
    assert list(parent.state_dict()) == ["child.layer.weight", "child.layer.bias"]


@pytest.mark.parametrize("library", [nn, pytest.param(torch and torch.nn, marks=needs_torch)])
def test_slices_keep_their_names(library):
    row = library.Sequential(*[library.Linear(2, 2) for _ in range(4)])
    assert [name for name, _ in row[2:].named_children()] == ["2", "3"]
    assert [name for name, _ in row[::2].named_children()] == ["0", "2"]
    assert [name for name, _ in row[1:][1:].named_children()] == ["2", "3"]
    assert len(row[4:]) == 0
    named = library.Sequential(OrderedDict(a=library.ReLU(), b=library.Tanh(), c=library.ReLU()))
    assert [name for name, _ in named[1:].named_children()] == ["b", "c"]
    assert [name for name, _ in library.ModuleList(row)[2:].named_children()] == ["0", "1"]


def test_rows_grow_and_shrink():
    row = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    tail = row[2:]
    added = nn.ReLU()
    tail.append(added)
    assert len(tail) == 3
    assert tail[2] is added
    assert list(tail)[0] is row[2]
    first, last = row[0], row[3]
    del row[1:3]
    assert list(row) == [first, last]
    row.insert(1, added).extend([nn.Tanh()])
    assert [name for name, _ in row.named_children()] == ["0", "1", "2", "3"]
    assert [type(part).__name__ for part in row] == ["Linear", "ReLU", "Linear", "Tanh"]


HIDDEN = {
    "list": (lambda: [nn.Linear(2, 2)], "nn.ModuleList"),
    "tuple": (lambda: (nn.Linear(2, 2), 3), "nn.ModuleList"),
    "dict": (lambda: {"a": nn.Linear(2, 2)}, "nn.ModuleDict"),
    "nested": (lambda: [[nn.Linear(2, 2)], []], "nn.ModuleList"),
    "parameters": (lambda: [nn.Parameter([1.0])], "nn.ParameterList"),
    "parameter dict": (lambda: {"a": nn.Parameter([1.0])}, "nn.ParameterDict"),
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("kind", HIDDEN)
def test_layers_in_a_plain_list_are_missed_aloud(kind, inside):
    make, advice = HIDDEN[kind]
    model = nn.Module()
    model.layers = []
    model.layers = make()
    model = nn.Sequential(model) if inside else model
    for ask in (
        lambda: list(model.parameters()),
        model.state_dict,
        model.zero_grad,
        lambda: model.requires_grad_(False),
    ):
        with pytest.warns(UserWarning, match=rf"layers is a plain .*keep them in an {advice}") as caught:
            ask()
        assert caught[0].filename == __file__


def test_plain_lists_of_what_is_registered_are_fine():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model.order, model.sizes, model.table = [model[1], model[0]], (2, 3), {"w": model[0].weight, "n": [1]}
    model(np.ones((1, 2), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(model.parameters())) == 2


def test_module_dict():
    modules = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.ReLU()})
    modules["c"] = nn.Tanh()
    assert list(modules) == list(modules.keys()) == ["a", "b", "c"]
    assert [type(m) for m in modules.values()] == [nn.Linear, nn.ReLU, nn.Tanh]
    assert dict(modules.items())["a"] is modules["a"]
    assert "a" in modules
    assert "training" not in modules
    assert len(modules) == 3
    assert list(modules.state_dict()) == ["a.weight", "a.bias"]
    modules.update([("d", nn.ELU())])
    assert type(modules.pop("d")) is nn.ELU
    del modules["c"]
    copied = copy.deepcopy(modules.eval())
    assert list(copied) == ["a", "b"]
    modules.clear()
    assert len(modules) == 0
    for wrong, error, words in (
        (lambda: modules.__setitem__("a", 3), TypeError, "every value must be a Module"),
        (lambda: modules.__setitem__("forward", nn.ReLU()), KeyError, "name of one of its methods"),
        (lambda: modules.__setitem__("a.b", nn.ReLU()), TypeError, "plain strings"),
        (lambda: modules["missing"], KeyError, "missing"),
    ):
        with pytest.raises(error, match=words):
            wrong()


def test_parameter_list_and_dict():
    row = nn.ParameterList([np.ones(2, np.float32), nn.Parameter([3.0])])
    row.append(Tensor([1.0])).extend([[2.0]])
    assert [name for name, _ in row.named_parameters()] == ["0", "1", "2", "3"]
    assert len(row) == 4
    assert row[-1].item() == 2
    row[-1] = nn.Parameter([5.0])
    assert [p.item() for p in row[2:]] == [1, 5]
    assert all(isinstance(p, nn.Parameter) for p in row)
    named = nn.ParameterDict({"w": np.ones(2, np.float32)})
    named["b"] = np.zeros(1)
    assert list(named.state_dict()) == ["w", "b"]
    assert type(named["b"]) is nn.Parameter


def test_casts_of_a_module():
    layer = nn.Linear(2, 2)
    assert layer.double().weight.dtype == np.float64
    assert layer.float().weight.dtype == np.float32
    assert layer.to(dtype=dl.float64).weight.dtype == np.float64
    assert layer.to("cpu", dl.float32).weight.dtype == np.float32
    assert layer.to(device=dl.device("cpu")) is layer is layer.cpu()
    with pytest.raises(ValueError, match="device: must be 'cpu', 'cuda'"):
        layer.cuda("cuda:one")
