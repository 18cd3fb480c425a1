"""What the tests of dlfast.inspect share: small data, and the proof that a model stays as it was."""

import numpy as np

import dlfast as dl
from dlfast import nn, random


def digits(rows=200, flat=True):
    images, labels = dl.data.load("digits")[:rows]
    return images.reshape(rows, 64) if flat else images, labels


def batch_norm_net():
    """All that can change by running: running statistics, dropout, modes that differ, gradients."""
    dl.manual_seed(3)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 10)]
    model = nn.Sequential(*layers)
    model[5].weight.grad = np.full(model[5].weight.shape, 2, np.float32)
    return model


def fingerprint(model):
    """All that an inspection must leave as it was."""
    grads = [None if p.grad is None else p.grad.copy() for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    return model.state_dict(), grads, modes, random.get_state(), [module._hooks for module in model.modules()]


def assert_untouched(model, before):
    after = fingerprint(model)
    np.testing.assert_equal(after[:3], before[:3])
    assert after[3:] == before[3:]
