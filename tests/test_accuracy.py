"""What a model reaches on real data, with the settings that the documentation gives."""

from functools import partial

import dlfast as dl
from dlfast import functional as F
from dlfast import models, optim, train
from dlfast.data import ArrayDataset, transforms
from dlfast.optim import lr_scheduler


def test_digits():
    """At least 0.98 of the last 360 digits of 8 x 8, whose writers are not among those of the first 1,437."""
    training, validation = dl.data.load("digits").split(1437)
    normalize = transforms.Normalize.of(training)
    training, validation = (ArrayDataset(normalize(x), y) for x, y in (training.arrays, validation.arrays))
    dl.manual_seed(0)
    model = models.small_vgg()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    epochs, batch_size = 15, 32
    history = train.fit(
        model,
        training,
        validation,
        epochs=epochs,
        batch_size=batch_size,
        loss=partial(F.cross_entropy, label_smoothing=0.1),
        optimizer=optimizer,
        scheduler=lr_scheduler.OneCycleLR(optimizer, 0.05, epochs=epochs, steps_per_epoch=-(-1437 // batch_size)),
        scheduler_step="batch",
        augment=transforms.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), fill=float(normalize([[0.0]])[0, 0])),
        progress=False,
    )
    assert history["val_accuracy"][-1] >= 0.98
