"""Whole training steps through `.to("cuda")`, against those of the CPU; what is read back on the way."""

import copy

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import models, nn, optim
from dlfast.kernels.devices import DeviceArray

RNG = np.random.default_rng(0)
TOLERANCE = 1e-4  # of a gradient, relative to the largest number in it


def labels(count, *shape):
    return RNG.integers(count, size=shape)


def images(*shape):
    return RNG.normal(size=shape).astype(np.float32)


NETS = [
    ("mlp", lambda: models.mlp(12, 16, 10, dropout=0.3), images(8, 12), labels(10, 8)),
    ("lenet5", lambda: models.lenet5(), images(2, 28, 28, 1), labels(10, 2)),
    ("small_vgg", lambda: models.small_vgg(width=4), images(2, 28, 28, 1), labels(10, 2)),
    ("residual", lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                                       models.resnet.basic_block(4, 8, 2, models.resnet.PadShortcut),
                                       nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
     images(3, 8, 8, 1), labels(10, 3)),
    ("lstm", lambda: models.char_lstm(11, hidden_size=8, num_layers=2), labels(11, 3, 6), labels(11, 3, 6)),
    ("gpt", lambda: models.gpt(11, context=8, d_model=16, num_layers=2, nhead=2, tie_weights=True), labels(11, 3, 8),
     labels(11, 3, 8)),
]  # fmt: skip


class Reads:
    """Counts the copies from the device."""

    def __init__(self, monkeypatch):
        device, self.count = dl.cuda.get_device(), 0
        original = type(device).download

        def download(this, array):
            self.count += 1
            return original(this, array)

        monkeypatch.setattr(type(device), "download", download)


@pytest.mark.parametrize(("make", "x", "target"), [net[1:] for net in NETS], ids=[net[0] for net in NETS])
def test_a_step_has_the_gradients_of_the_cpu(monkeypatch, make, x, target):
    dl.manual_seed(0)
    nets = {"cpu": make()}
    nets["cuda"] = copy.deepcopy(nets["cpu"]).to("cuda")
    losses, reads = {}, None
    for place, net in nets.items():
        inputs = dl.tensor(x, device=place), dl.tensor(target, device=place)
        dl.manual_seed(1)
        reads = Reads(monkeypatch)
        loss = F.cross_entropy(net(inputs[0]), inputs[1])
        loss.backward()
        assert reads.count == 0
        losses[place] = loss.item()
    assert reads.count == 1
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=TOLERANCE)
    largest = max(np.abs(p.grad).max() for p in nets["cpu"].parameters())
    for (name, wanted), found in zip(nets["cpu"].named_parameters(), nets["cuda"].parameters(), strict=True):
        scale = max(np.abs(wanted.grad).max(), 1e-3 * largest)  # a bias in front of a normalisation has rounding alone
        error = np.abs(found.grad.numpy() - wanted.grad).max() / scale
        assert error < TOLERANCE, name
    wanted, found = nets["cpu"].state_dict(), nets["cuda"].state_dict()  # running statistics too
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("make", "x", "target"), [NETS[0][1:], NETS[1][1:], NETS[5][1:]], ids=["mlp", "lenet5", "gpt"])
def test_steps_with_an_optimizer(monkeypatch, make, x, target):
    dl.manual_seed(0)
    nets, losses = {"cpu": make()}, {}
    nets["cuda"] = copy.deepcopy(nets["cpu"]).to("cuda")
    for place, net in nets.items():
        optimizer = optim.Adam(net.parameters(), lr=1e-3)
        inputs = dl.tensor(x, device=place), dl.tensor(target, device=place)
        dl.manual_seed(1)
        seen = []
        reads = Reads(monkeypatch)
        for _ in range(4):
            loss = F.cross_entropy(net(inputs[0]), inputs[1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.detach())
        assert reads.count == 0
        losses[place] = [loss.item() for loss in seen]
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=1e-3)
    assert losses["cpu"][-1] < losses["cpu"][0]


def test_a_model_on_a_device_generates_the_same_text():
    dl.manual_seed(0)
    for net in (models.char_lstm(11, hidden_size=8), models.gpt(11, context=8, d_model=16, num_layers=1, nhead=2)):
        texts = []
        for place in ("cpu", "cuda"):
            texts.append(list(models.generate(net.to(place), np.array([1, 2, 3]), 8, seed=0)))
        assert texts[0] == texts[1]


def test_gradients_are_written_where_the_optimizer_keeps_them(monkeypatch):
    dl.manual_seed(0)
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3)).cuda()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    codes = dl.tensor(np.array([0, 3, 3]), device="cuda")
    for _ in range(2):
        optimizer.zero_grad()
        net(codes).sum().backward()
        optimizer.step()
    optimizer.zero_grad()
    place, device, writers = net[0].weight._place.array.pointer, dl.cuda.get_device(), set()
    original = type(device).launch

    def launch(this, kernel, grid, block, arguments, dtype):
        if any(isinstance(x, DeviceArray) and x.pointer == place for x in arguments):
            writers.add(kernel.name)
        return original(this, kernel, grid, block, arguments, dtype)

    monkeypatch.setattr(type(device), "launch", launch)
    net(codes).sum().backward()
    assert net[0].weight.grad.pointer == place
    assert writers == {"embedding_clear", "embedding_scatter"}  # and no copy
    assert [(p.grad.numpy() != 0).any() for p in net.parameters()] == [True] * 3
