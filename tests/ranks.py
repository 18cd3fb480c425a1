"""What the tests of `dlfast.distributed` run on several ranks: ``mpiexec -n 2 python ranks.py JOB [FOLDER]``.

Each rank prints one line of JSON, ``{"rank": ..., ...}``, with what the job gives.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import dlfast as dl
from dlfast import distributed, nn, optim, train
from dlfast import functional as F
from dlfast.data import ArrayDataset, DataLoader

ROWS, BATCH = 101, 16  # on 2 ranks batches of 32 rows, the last one of 5


def say(**facts):
    """A line, in one piece: `print` writes its end apart, behind what another rank may have written meanwhile."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def data(rows=ROWS):
    images, labels = dl.data.load("digits").arrays
    return ArrayDataset(images[:rows], labels[:rows]), ArrayDataset(images[rows : rows + 51], labels[rows : rows + 51])


def network(norm=False, seed=1):
    dl.manual_seed(seed)
    normed = [nn.BatchNorm2d(4)] if norm else []  # a bias before it has gradients of nothing but roundings
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=not norm), *normed, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 16),
        nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip


def bits(model):
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def records(history):
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in epoch.items() if k not in times} for epoch in history.epochs]


def training(distributed=True, batch_size=BATCH, epochs=3, norm=False, seed=1, rows=ROWS, **options):
    """Model and history; the same on one rank with the batch of all of them."""
    model = network(norm, seed)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    learn, val = data(rows)
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


class Step(train.Callback):
    """Says which process has come to which update, and waits a little, so that a test can do something meanwhile."""

    def after_update(self, run):
        say(rank=run.ranks.comm.rank, pid=os.getpid(), step=run.steps)
        time.sleep(0.02)


class Faulty(Rows):
    """Rows of which one cannot be read."""

    def __getitem__(self, i):
        if int(i) == 9:
            raise OSError("row 9 cannot be read")
        return super().__getitem__(i)


def fails():
    """A training that rank 1 cannot go on with: it cannot read one of its rows."""
    model = nn.Linear(2, 12)
    optimizer = optim.SGD(model.parameters())
    data = DataLoader(Faulty(), 6)
    train.fit(model, data, loss=F.cross_entropy, optimizer=optimizer, metrics=(), progress=False, distributed=True)


class Broken(nn.Module):
    """A layer that works on rank 0 alone."""

    def forward(self, x):
        if distributed.rank():
            raise IndexError("the layer is broken")
        return x


def unlike(comm):
    """What is said where rank 1 has something else than rank 0: by the errors of both."""
    first, said = comm.rank == 0, {}

    def attempt(name, action, *arguments, **options):
        try:
            action(*arguments, **options)
        except Exception as error:
            said[name] = f"{type(error).__name__}: {error}"

    model = nn.Linear(64, 10 if first else 12)
    attempt("model", distributed.DataParallel, model, optim.SGD(model.parameters()))
    model = nn.Linear(64, 10)
    optimizer = (optim.SGD if first else optim.Adam)(model.parameters())
    attempt("optimizer", distributed.DataParallel, model, optimizer)
    attempt("epochs", training, epochs=2 if first else 3)
    model = network()
    options = {"optimizer": optim.SGD(model.parameters()), "progress": False, "distributed": True}
    factor = 1 if first else float("nan")
    attempt("diverged", train.fit, model, data()[0], loss=lambda y, t: F.cross_entropy(y, t) * factor, **options)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Broken())
    options["optimizer"] = optim.SGD(model.parameters())
    attempt("layer", train.fit, model, data()[0], loss=F.cross_entropy, **options)
    return said


def with_options(distributed=True, batch_size=BATCH):
    """Histories with what lies between gradients and updates, which weighs batches and rows."""
    several = {
        "accumulate": {"accumulate": 3, "class_weight": "balanced"},
        "penalties": {"clip_grad_norm": 0.1, "regularizers": optim.regularizers.L2(1e-3)},
        "limits": {"clip_grad_value": 0.01, "accumulate": 2},
    }
    return {
        name: records(training(distributed, batch_size, epochs=2, **options)[1]) for name, options in several.items()
    }


class Interrupted(train.Callback):
    """Ctrl-C on rank 1, in the middle of an epoch."""

    def on_batch_end(self, run):
        self.steps = run.steps
        if distributed.rank() == 1 and run.batch == 2:
            signal.raise_signal(signal.SIGINT)


def interrupted():
    callback = Interrupted()
    _, history = training(callbacks=[callback])
    return {"stopped": history.stopped, "steps": callback.steps, "epochs": len(history)}


def by_hand():
    """The training of `training`, its loop written by hand."""
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    comm = distributed.communicator()
    ranks = distributed.DataParallel(model, optimizer)
    for _ in range(3):
        for x, y in DataLoader(data()[0], BATCH, shuffle=True).shard(comm):
            optimizer.zero_grad()
            if len(x):
                F.cross_entropy(model(x), y).backward()
            ranks.average_gradients(len(x))
            optimizer.step()
    ranks.broadcast_buffers()
    found = train.evaluate(model, data()[1], loss=F.cross_entropy, metrics=["accuracy"], distributed=True)
    return {"bits": bits(model), **found}


def on_device():
    """A training on "cuda", by the CPU that plays it, beside the same on the CPU."""
    found = {}
    for device in ("cuda", "cpu"):
        dl.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        history = train.fit(
            model, data(37)[0], epochs=2, batch_size=8, loss=F.cross_entropy, optimizer=optimizer, progress=False,
            distributed=True, device=device,
        )  # fmt: skip
        found[device] = {"epochs": records(history), "bits": bits(model.cpu())}
    return found


def run_job(comm, job, folder):
    if job == "device":
        return on_device()
    if job == "options":
        return with_options()
    if job == "interrupted":
        return interrupted()
    if job == "by_hand":
        return by_hand()
    if job == "fails":
        fails()
    if job == "unlike":
        return unlike(comm)
    if job == "killed":
        resume = folder if (folder / "last.safetensors").exists() else None
        callbacks = [train.Checkpoint(folder, every_steps=1), Step()]
        model, history = training(resume=resume, callbacks=callbacks[: 1 if resume else 2])
        return {"bits": bits(model), "epochs": records(history)}
    if job == "collectives":
        return {"wrong": collectives(comm), "met": sharding(comm)}
    if job == "train":
        model, history = training(seed=1 + comm.rank)  # the weights must be those of rank 0
        return {"bits": bits(model), "epochs": records(history)}
    if job == "synchronised":
        model, history = training(norm=True, sync_batch_norm=True, rows=int(folder.name))
        return {"bits": bits(model), "epochs": records(history)}
    raise ValueError(job)


def main():
    job, *rest = sys.argv[1:]
    comm = dl.distributed.initialize()
    result = run_job(comm, job, Path(rest[0]) if rest else None)
    say(rank=comm.rank, **result)
    dl.distributed.finalize()


if __name__ == "__main__":
    main()
