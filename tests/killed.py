"""A training that the tests of resuming kill: `python killed.py FOLDER [prefetch]` says which update is done, line by
line, and writes what it ends with to FOLDER/end.safetensors."""

import json
import sys
from pathlib import Path

import numpy as np

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim, train
from dlfast.data import ArrayDataset, DataLoader

EPOCHS, ACCUMULATE, ROWS, BATCH = 4, 3, 90, 4  # 23 batches and 8 updates an epoch, the last ones smaller


class Decay:
    """A schedule by updates."""

    def __init__(self, optimizer):
        self.optimizer, self.count = optimizer, 0

    def step(self):
        self.count += 1
        self.optimizer.param_groups[0]["lr"] = 0.01 / (1 + 0.1 * self.count)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Say(train.Callback):
    def after_update(self, run):
        print(run.steps, flush=True)


def augment(x):
    generator = dl.random.generator()
    flipped = x[:, :, ::-1] if generator.random() < 0.5 else x
    return flipped + generator.normal(size=x.shape).astype(np.float32) / 10


def model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(36, 10),
    )  # fmt: skip


def main(folder, prefetch=False):
    dl.set_num_threads(1)
    dl.manual_seed(0)
    images, labels = dl.data.load("digits").arrays
    data, val = ArrayDataset(images[:ROWS], labels[:ROWS]), ArrayDataset(images[ROWS:200], labels[ROWS:200])
    net = model()
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    started = any((folder / f"{name}.safetensors").exists() for name in ("last", "previous"))
    history = train.fit(
        net, DataLoader(data, BATCH, shuffle=True, prefetch=prefetch), val, epochs=EPOCHS, loss=F.cross_entropy,
        optimizer=optimizer, scheduler=Decay(optimizer), scheduler_step="batch", accumulate=ACCUMULATE,
        augment=augment, metrics=["accuracy"], progress=False, resume=folder if started else None,
        callbacks=[Say(), train.EarlyStopping(3), train.Checkpoint(folder, every_steps=1)],
    )  # fmt: skip
    epochs = [{k: v for k, v in e.items() if k not in ("seconds", "images_per_second")} for e in history.epochs]
    end = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "random": dl.random.get_state()}
    dl.save(folder / "end.safetensors", {**end, "history": json.dumps(epochs)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), "prefetch" in sys.argv)
