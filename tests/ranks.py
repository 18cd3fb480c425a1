"""What the tests of `dlfast.distributed` run on several ranks: ``mpiexec -n 2 python ranks.py JOB [FOLDER]``.

Each rank prints one line of JSON, ``{"rank": ..., ...}``, with what the job gives.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim, train
from dlfast.data import ArrayDataset, DataLoader

ROWS, BATCH = 101, 16  # on 2 ranks batches of 32 rows, the last one of 5


def data(rows=ROWS):
    images, labels = dl.data.load("digits").arrays
    return ArrayDataset(images[:rows], labels[:rows]), ArrayDataset(images[rows : rows + 51], labels[rows : rows + 51])


def network(norm=False, seed=1):
    dl.manual_seed(seed)
    normed = [nn.BatchNorm2d(4)] if norm else []
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), *normed, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 16), nn.ReLU(),
        nn.Linear(16, 10),
    )  # fmt: skip


def bits(model):
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def records(history):
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in epoch.items() if k not in times} for epoch in history.epochs]


def training(distributed=True, batch_size=BATCH, epochs=3, norm=False, seed=1, **options):
    """Model and history; the same on one rank with the batch of all of them."""
    model = network(norm, seed)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    learn, val = data()
    options = {"metrics": ["accuracy", "f1"], "progress": False} | options
    history = train.fit(
        model, learn, val, epochs=epochs, batch_size=batch_size, loss=F.cross_entropy, optimizer=optimizer,
        distributed=distributed, **options,
    )  # fmt: skip
    return model, history


def collectives(comm):
    """Names of what is wrong."""
    wrong = []

    def expect(name, got, wanted):
        if not (got.dtype == wanted.dtype and np.array_equal(got, wanted)):
            wrong.append(name)

    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64, np.int64, np.int32, np.uint8, np.float16):
        for shape in ((), (1,), (0, 3), (7, 5), (300_001,)):
            parts = [rng.integers(0, 50, shape).astype(dtype) for _ in range(comm.size)]
            of_all = {"sum": sum(parts), "max": np.maximum.reduce(parts), "min": np.minimum.reduce(parts)}
            for op, wanted in of_all.items():
                own = parts[comm.rank].copy()
                expect(f"{op} {own.dtype} {shape}", comm.all_reduce(own, op), np.asarray(wanted, dtype))
                work = comm.all_reduce(own := parts[comm.rank].copy(), op, async_op=True)
                expect(f"later {op} {own.dtype} {shape}", work.wait(), np.asarray(wanted, dtype))
            for root in range(comm.size):
                expect(f"broadcast {dtype} {shape}", comm.broadcast(parts[comm.rank].copy(), root), parts[root])
            expect(f"gather {dtype} {shape}", comm.all_gather(parts[comm.rank]), np.stack(parts))
    wide = np.arange(24.0).reshape(4, 6)
    part = comm.all_reduce(wide[:, ::2], "mean")
    expect("mean, in place, strided", wide, np.arange(24.0).reshape(4, 6))
    wide[:, ::2] += comm.rank
    comm.all_reduce(part, "mean")
    expect("mean", wide[:, ::2], np.arange(24.0).reshape(4, 6)[:, ::2] + (comm.size - 1) / 2)
    expect("any", comm.all_reduce(np.array([comm.rank == 0, False]), "max"), np.array([True, False]))
    expect("all", comm.all_reduce(np.array([comm.rank == 0, True]), "min"), np.array([False, True]))
    tensor = dl.Tensor(np.ones(3, np.float32))
    comm.all_reduce(tensor)
    expect("tensor", tensor.data, np.full(3, comm.size, np.float32))
    if comm.all_gather_object({"of": comm.rank}) != [{"of": r} for r in range(comm.size)]:
        wrong.append("objects")
    if comm.broadcast_object(comm.rank, 1) != 1:
        wrong.append("object")
    comm.barrier()
    return wrong


class Rows:
    """A data set whose items are rows, which draws random numbers."""

    def __len__(self):
        return 11

    def __getitem__(self, i):
        return np.float32([int(i), dl.random.generator().random()]), int(i)


def sharding(comm):
    """The rows that each rank meets in two passes, by loader."""
    met = {}
    for name, dataset in (("arrays", ArrayDataset(np.arange(37), np.arange(37))), ("rows", Rows())):
        for prefetch in (False, 2):
            dl.manual_seed(comm.rank)  # the order must be that of rank 0 all the same
            loader = DataLoader(dataset, 5, shuffle=True, prefetch=prefetch).shard(comm)
            passes = [[[int(y) for y in batch[-1]] for batch in loader] for _ in range(2)]
            met[f"{name} {prefetch}"] = {"passes": passes, "length": len(loader)}
    return met


def run_job(comm, job, folder):
    if job == "collectives":
        return {"wrong": collectives(comm), "met": sharding(comm)}
    if job == "train":
        model, history = training(seed=1 + comm.rank)  # the weights must be those of rank 0
        return {"bits": bits(model), "epochs": records(history)}
    if job == "synchronised":
        model, history = training(norm=True, sync_batch_norm=True)
        return {"bits": bits(model), "epochs": records(history)}
    raise ValueError(job)


def main():
    job, *rest = sys.argv[1:]
    comm = dl.distributed.initialize()
    result = run_job(comm, job, Path(rest[0]) if rest else None)
    sys.stdout.write(json.dumps({"rank": comm.rank, **result}) + "\n")
    sys.stdout.flush()
    dl.distributed.finalize()


if __name__ == "__main__":
    main()
