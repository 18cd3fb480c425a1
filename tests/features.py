"""What the tests of the notes' subjects share: real digits, and a training on them."""

from functools import cache

import dlfast as dl
from dlfast import functional as F
from dlfast import optim


@cache
def digits():
    """(training, validation): 1500 and 297 digits of 8 x 8 pixels."""
    return dl.data.load("digits").split(1500)


def fitted(model, data, epochs=8, lr=3e-3, **options):
    """The history of a training with Adam on (training, validation) of classes."""
    optimizer = optim.Adam(model.parameters(), lr=lr)
    return dl.train.fit(
        model, *data, epochs=epochs, loss=F.cross_entropy, optimizer=optimizer, progress=False, **options
    )
