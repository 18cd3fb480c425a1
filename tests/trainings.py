"""What the tests of training share: a small data set, a small network, a short training."""

import numpy as np

from dlfast import functional as F
from dlfast import nn, optim, train
from dlfast.data import ArrayDataset, load


def digits():
    images, labels = load("digits").arrays
    return ArrayDataset(images.reshape(len(images), 64), labels)


def small():
    return ArrayDataset(*digits()[:200])


def make(dropout=0.2, lr=1e-2):
    model = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 10))
    return model, optim.Adam(model.parameters(), lr=lr)


def run(epochs, model=None, optimizer=None, data=None, val=None, **options):
    if model is None:
        model, optimizer = make()
    options = {"progress": False, "loss": F.cross_entropy, "batch_size": 32} | options
    return model, train.fit(model, data or small(), val, epochs=epochs, optimizer=optimizer, **options)


def bits(state):
    return {name: np.asarray(value).tobytes() for name, value in state.items()}


def exact(history):
    """The records without the times."""
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in record.items() if k not in times} for record in history.epochs]
