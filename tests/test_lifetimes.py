"""What is deleted gives its memory back at once: no reference cycle that waits for the garbage collector."""

import gc
import weakref

import numpy as np
import pytest

from dlfast import functional as F
from dlfast import nn, optim, train

MODELS = {
    "linear": (lambda: nn.Linear(4, 3), (2, 4)),
    "sequential": (lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)), (2, 4)),
    "images": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
        ),
        (2, 6, 6, 1),
    ),
    "residual": (lambda: nn.Residual(nn.Linear(4, 4), nn.BatchNorm1d(4), activation="relu"), (2, 4)),
    "cell": (lambda: nn.GRUCell(4, 3), (2, 4)),
}
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.1),
    "Adam": lambda p: optim.Adam(p, clip_grad_norm=1.0),
    "AdamW": optim.AdamW,
}


@pytest.fixture
def _no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def step(model, optimizer, x, loaded=False):
    model(x).sum().backward()
    optimizer.step()
    if loaded:
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.zero_grad()
        model(x).sum().backward()
        next(model.parameters()).grad = None  # stretches are split anew
        optimizer.step()
    model.eval()(x)


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_a_model_and_its_optimizer(model, optimizer):
    build, shape = MODELS[model]
    net = build()
    rule = OPTIMIZERS[optimizer](net.parameters())
    step(net, rule, np.random.default_rng(0).normal(size=shape).astype(np.float32), loaded=True)
    kept = [weakref.ref(p.data.base) for p in net.parameters()]
    kept += [weakref.ref(p._place.array.base) for p in net.parameters()]
    kept += [weakref.ref(array.base) for block in rule._blocks[0] for array in block.states_of(0).values()]
    kept += [weakref.ref(net), weakref.ref(rule)]
    assert all(ref() is not None for ref in kept)
    del net, rule
    assert [ref() for ref in kept] == [None] * len(kept)


@pytest.mark.usefixtures("_no_collector")
def test_a_training():
    data = np.ones((8, 4), np.float32), np.zeros(8, np.int64)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer, stop = optim.Adam(model.parameters()), train.EarlyStopping()
    train.fit(model, data, data, epochs=2, loss=F.cross_entropy, optimizer=optimizer, callbacks=[stop], progress=False)
    kept = [weakref.ref(each) for each in (model, optimizer, stop)]
    del model, optimizer, stop
    assert [ref() for ref in kept] == [None] * 3
