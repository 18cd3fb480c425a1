"""A run that is killed at any moment and resumed ends with the bits of one that was not."""

import errno
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import killed
import pytest
from trainings import bits, exact, make, run, small

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim, train
from dlfast.data import ArrayDataset, DataLoader
from dlfast.serialize import pack

STEPS = killed.EPOCHS * 8


def start(folder, *options):
    command = [sys.executable, "-u", killed.__file__, str(folder), *options]
    root = str(Path(dl.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(folder, *options):
    process = start(folder, *options)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return bits(pack(dl.load(folder / "end.safetensors")))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("unbroken"))


def kill_after(process, step, seconds):
    """SIGKILL, when that update is done and some time has passed; whether it was still training."""
    for line in process.stdout:
        if int(line) >= step:
            break
    time.sleep(seconds)
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def test_killed_at_ten_moments(tmp_path, unbroken):
    """The delay after an update, of up to the time of one with its checkpoint, hits computations and writes alike."""
    rng = random.Random(0)
    steps = sorted(rng.sample(range(1, STEPS - 6), 10))
    hit = [kill_after(start(tmp_path), step, rng.random() * 0.006) for step in steps]
    assert sum(hit) >= 8  # a fast machine may have come to the end before
    assert finish(tmp_path, "prefetch") == unbroken
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


class Killed(BaseException):
    """Stands for SIGKILL in this process: nothing of the training runs after it."""


def part(folder, **options):
    """The training of `killed`, in this process, with callbacks; model and history."""
    dl.manual_seed(0)
    images, labels = dl.data.load("digits").arrays
    data = DataLoader(ArrayDataset(images[:50], labels[:50]), 4, shuffle=True)
    model = killed.model()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    options = {"augment": killed.augment, "accumulate": 3, "callbacks": [], "data": data} | options
    options["callbacks"] = [*options["callbacks"], train.Checkpoint(folder, every_steps=2)]
    _, history = run(2, model, optimizer, scheduler=killed.Decay(optimizer), scheduler_step="batch", **options)
    return bits(model.state_dict()), exact(history)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return part(tmp_path_factory.mktemp("whole"))


@contextmanager
def dying(function, call):
    """Dies at that call of a function of the operating system; how many calls there have been, in a list of one."""
    original, count = getattr(os, function), [0]

    def counting(*arguments, **options):
        count[0] += 1
        if count[0] == call:
            raise Killed
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, function, counting)
        yield count


@pytest.mark.parametrize("function", ["fsync", "link", "replace"])
def test_killed_within_a_write(tmp_path, whole, function):
    with dying(function, None) as count:
        part(tmp_path / "counted")
    first = {"fsync": 3, "link": 1, "replace": 2}[function]  # when there is a checkpoint
    assert count[0] >= 5
    for call in range(first, count[0] + 1, 3):
        folder = tmp_path / str(call)
        with dying(function, call), pytest.raises(Killed):
            part(folder)
        assert part(folder, resume=folder) == whole


def steps_of(folder):
    return dl.load(folder / "last.safetensors")["steps"]


class Stop(train.Callback):
    """Kills the training after an update."""

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, run):
        if run.steps == self.step:
            raise Killed


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_every_place_in_the_epochs(tmp_path, whole, step):
    """5 updates an epoch: kills before the first checkpoint, in the first and second epoch and at its end."""
    with pytest.raises(Killed):
        part(tmp_path / "parts", callbacks=[Stop(step)])
    if step <= 2:
        assert not (tmp_path / "parts" / "last.safetensors").exists()
        return
    assert 0 <= step - 1 - steps_of(tmp_path / "parts") < 2
    assert part(tmp_path / "parts", resume=tmp_path / "parts") == whole


def broken_off(folder, step=8, **options):
    with pytest.raises(Killed):
        part(folder, callbacks=[Stop(step)], **options)


class TestOtherLoaders:
    batches = [(dl.data.load("digits")[i : i + 9]) for i in range(0, 99, 9)]

    def test_batches_are_passed_over(self, tmp_path):
        expected = part(tmp_path / "whole", data=self.batches)
        broken_off(tmp_path / "parts", data=self.batches, step=7)
        assert part(tmp_path / "parts", data=self.batches, resume=tmp_path / "parts") == expected

    def test_a_loader_that_draws_from_our_generator(self, tmp_path):
        class Own(DataLoader):
            def __iter__(self):
                return ((x + dl.random.generator().normal() * 0.01, y) for x, y in super().__iter__())

        def data():
            x, y = dl.data.load("digits").arrays
            return Own(ArrayDataset(x[:60], y[:60]), 4, shuffle=True)

        expected = part(tmp_path / "whole", data=data())
        broken_off(tmp_path / "parts", data=data())
        found = part(tmp_path / "parts", data=data(), resume=tmp_path / "parts")
        assert found == expected

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_data_set_that_draws(self, tmp_path, workers):
        """Without threads from our generator as the run does, with them from generators of their batches."""
        images, labels = dl.data.load("digits").arrays
        data = dl.data.Transformed(ArrayDataset(images[:60], labels[:60]), dl.data.transforms.RandomCrop(8, padding=1))

        def loader():
            return DataLoader(data, 4, shuffle=True, num_workers=workers)

        expected = part(tmp_path / "whole", data=loader())
        broken_off(tmp_path / "parts", data=loader())
        assert part(tmp_path / "parts", data=loader(), resume=tmp_path / "parts") == expected

    def test_pytorchs_loader(self, tmp_path):
        torch = pytest.importorskip("torch")
        x, y = (torch.tensor(array[:60]) for array in dl.data.load("digits").arrays)

        def loader():
            return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 4)

        expected = part(tmp_path / "whole", data=loader())
        broken_off(tmp_path / "parts", data=loader())
        assert part(tmp_path / "parts", data=loader(), resume=tmp_path / "parts") == expected


class TestDamage:
    def test_the_checkpoint_before_is_taken(self, tmp_path, whole):
        for number, damage in enumerate((lambda b: b[:100], lambda b: b"", lambda b: b[:-9] + b"?" + b[-8:])):
            folder = tmp_path / str(number)
            broken_off(folder)
            last = folder / "last.safetensors"
            last.write_bytes(damage(last.read_bytes()))
            with pytest.warns(UserWarning, match="goes on from the checkpoint before the last: .* not a sound"):
                assert part(folder, resume=folder) == whole

    def test_a_last_file_that_is_gone(self, tmp_path, whole):
        broken_off(tmp_path / "parts")
        (tmp_path / "parts" / "last.safetensors").unlink()
        with pytest.warns(UserWarning, match="goes on from the checkpoint before the last"):
            assert part(tmp_path / "parts", resume=tmp_path / "parts") == whole

    def test_both_damaged(self, tmp_path):
        broken_off(tmp_path)
        for name in ("last", "previous"):
            path = tmp_path / f"{name}.safetensors"
            path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ValueError, match="last.* is not a sound .* and neither is .*previous"):
            part(tmp_path, resume=tmp_path)

    def test_a_new_run_keeps_nothing_of_another(self, tmp_path):
        broken_off(tmp_path)
        broken_off(tmp_path, step=4)
        assert not (tmp_path / "previous.safetensors").exists()
        assert steps_of(tmp_path) == 2


class TestMismatch:
    def refused(self, folder, words, model=None, optimizer=None, **options):
        model = model or killed.model()
        optimizer = optimizer or optim.Adam(model.parameters(), lr=0.01)
        images, labels = dl.data.load("digits").arrays
        options = {"data": ArrayDataset(images[:50], labels[:50]), "batch_size": 4, "accumulate": 3} | options
        options.setdefault("scheduler", killed.Decay(optimizer))
        before = bits(pack([model.state_dict(), optimizer.state_dict(), dl.random.get_state()]))
        with pytest.raises(ValueError, match=words):
            run(2, model, optimizer, resume=folder, **options)
        assert bits(pack([model.state_dict(), optimizer.state_dict(), dl.random.get_state()])) == before

    def test_in_the_middle_of_an_epoch(self, tmp_path):
        broken_off(tmp_path)
        x, y = dl.data.load("digits").arrays
        self.refused(
            tmp_path, "was trained with rows 50, and is to be resumed with 40", data=ArrayDataset(x[:40], y[:40])
        )
        self.refused(tmp_path, "was trained with batch_size 4, and is to be resumed with 5", batch_size=5)
        self.refused(tmp_path, "was trained with shuffle True, and is to be resumed with False", shuffle=False)
        self.refused(tmp_path, "was trained with accumulate 3, and is to be resumed with 2", accumulate=2)
        self.refused(tmp_path, "with the scheduler Decay, and is to be resumed with no scheduler", scheduler=None)
        model = killed.model()
        self.refused(tmp_path, "was trained with Adam", model, optim.SGD(model.parameters()))
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.refused(tmp_path, "cannot resume from .*load_state_dict", model)

    def test_between_epochs(self, tmp_path):
        part(tmp_path)
        x, y = dl.data.load("digits").arrays
        self.refused(
            tmp_path, "was trained with rows 50, and is to be resumed with 40", data=ArrayDataset(x[:40], y[:40])
        )
        model = killed.model()
        optimizer = optim.Adam(model.parameters())
        images, labels = x[:50], y[:50]
        _, history = run(  # larger batches from an epoch on are a way to train
            3, model, optimizer, ArrayDataset(images, labels), batch_size=10, scheduler=killed.Decay(optimizer),
            resume=tmp_path,
        )  # fmt: skip
        assert len(history) == 3

    def test_a_scheduler_where_none_was(self, tmp_path):
        model, optimizer = make()
        run(1, model, optimizer, callbacks=[train.Checkpoint(tmp_path)])
        model, optimizer = make()
        with pytest.raises(ValueError, match="with no scheduler, and is to be resumed with the scheduler Decay"):
            run(2, model, optimizer, scheduler=killed.Decay(optimizer), resume=tmp_path)


class TestFullDisk:
    def test_an_error_that_says_so(self, tmp_path, whole, monkeypatch):
        folder, written = tmp_path / "parts", []

        def full(path, arrays):
            written.append(path)
            if len(written) > 3:
                path.write_bytes(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(path, arrays)

        original = dl._safetensors.write
        with monkeypatch.context() as patch:
            patch.setattr("dlfast._safetensors.write", full)
            with pytest.raises(OSError, match="No space left on device.*safetensors"):
                part(folder)
        assert sorted(path.name for path in folder.iterdir()) == [
            f"{name}.safetensors" for name in ("best", "last", "previous")
        ]
        assert [dl.load(folder / f"{name}.safetensors")["steps"] for name in ("last", "previous")] == [4, 2]
        assert part(folder, resume=folder) == whole

    @pytest.mark.skipif(sys.platform == "win32", reason="file sizes are limited by POSIX systems alone")
    def test_a_limit_of_the_system(self, tmp_path):
        import resource
        import signal

        part(tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
            with pytest.raises(OSError, match="File too large.*last.safetensors"):
                part(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_checkpoints_by_updates(tmp_path):
    written = []

    class Look(train.Callback):
        def on_batch_end(self, run):
            path = tmp_path / "last.safetensors"
            written.append((run.steps, steps_of(tmp_path) if path.exists() else 0))

    model, optimizer = make()
    callbacks = [Look(), train.Checkpoint(tmp_path, every_steps=3)]
    run(1, model, optimizer, callbacks=callbacks, accumulate=1, loss=F.cross_entropy)
    assert written == [(1, 0), (2, 0), (3, 0), (4, 3), (5, 3), (6, 3), (7, 6)]
    with pytest.raises(ValueError, match="every_steps must be at least 1"):
        train.Checkpoint(tmp_path, every_steps=0)


@pytest.mark.parametrize("every", ["epoch", "batch"])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=40),
        lambda o: optim.lr_scheduler.CosineWithWarmup(o, 30, 4),
        lambda o: optim.lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
        lambda o: optim.lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
        lambda o: optim.lr_scheduler.MultiStepLR(o, [1, 3], 0.5),
        lambda o: optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=10.0),
        lambda o: optim.lr_scheduler.SequentialLR(
            o, [optim.lr_scheduler.ConstantLR(o, 0.1, 2), optim.lr_scheduler.ExponentialLR(o, 0.9)], [2]
        ),
    ],
)
def test_schedulers_go_on(tmp_path, schedule, every):
    def train_on(folder, *callbacks, resume=None):
        dl.manual_seed(0)
        model, optimizer = make(lr=0.01)
        scheduler = schedule(optimizer)
        callbacks = [*callbacks, train.Checkpoint(folder, every_steps=2)]
        options = {"scheduler": scheduler, "scheduler_step": every, "callbacks": callbacks, "resume": resume}
        run(3, model, optimizer, val=small(), **options)
        return bits(model.state_dict()), optimizer.param_groups[0]["lr"], bits(pack(scheduler.state_dict()))

    if every == "batch" and isinstance(schedule(make()[1]), optim.lr_scheduler.ReduceLROnPlateau):
        return
    expected = train_on(tmp_path / "whole")
    with pytest.raises(Killed):
        train_on(tmp_path / "parts", Stop(11))
    assert train_on(tmp_path / "parts", resume=tmp_path / "parts") == expected


class Falling(train.Callback):
    """Sets the rate by the share of all batches that are done."""

    def on_epoch_begin(self, run):
        done = ((run.epoch - 1) * run.batches + run.batch) / (run.epochs * run.batches)
        run.optimizer.param_groups[0]["lr"] = 0.01 * (1 - done)

    on_batch_end = on_epoch_begin


def test_a_rate_that_follows_the_updates_goes_on(tmp_path):
    """A callback that sets the rate by the place in the run is told the place in the epoch."""

    def go(folder, *callbacks, **options):
        dl.manual_seed(0)
        model, optimizer = make()
        callbacks = [Falling(), *callbacks, train.LRLogger(), train.Checkpoint(folder, every_steps=2)]
        _, history = run(2, model, optimizer, callbacks=callbacks, **options)
        return bits(model.state_dict()), exact(history)

    whole = go(tmp_path / "whole")
    for step in (4, 10):
        with pytest.raises(Killed):
            go(tmp_path / str(step), Stop(step))
        assert go(tmp_path / str(step), resume=tmp_path / str(step)) == whole
