"""Several ranks: what they tell each other, and that they train as one rank with the batch of all of them does."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import ranks
from mpi import job, needs_mpi, run, start

from dlfast import distributed, train
from dlfast.bench import ranks as bench_ranks
from dlfast.data import DataLoader


def close(found, wanted, rel=2e-6):
    """Whether the records of two histories agree but for roundings."""
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours == pytest.approx(theirs, rel=rel)


@pytest.fixture(scope="module")
def two():
    """Both ranks of a training, and all that they have told each other."""
    return job(2, "train")


@needs_mpi
def test_collectives_and_shards():
    count = 3
    found = job(count, "collectives")
    assert [each["rank"] for each in found] == list(range(count))
    assert [each["wrong"] for each in found] == [[]] * count
    for name, rows in (("arrays", 37), ("rows", 11)):
        for prefetch in ("False", "2"):
            passes = zip(*(each["met"][f"{name} {prefetch}"]["passes"] for each in found), strict=True)
            orders = [check_pass(parts, rows, 5 * count) for parts in passes]
            assert orders[0] != orders[1]


def check_pass(parts, rows, batch):
    """The parts of all ranks in one pass: no row twice, and each batch shared out evenly. The order of its rows."""
    lengths = [[len(each) for each in batches] for batches in zip(*parts, strict=True)]
    assert [sum(each) for each in lengths] == [min(batch, rows - i) for i in range(0, rows, batch)]
    assert all(max(each) - min(each) <= 1 for each in lengths)
    order = [row for batches in zip(*parts, strict=True) for part in batches for row in part]
    assert sorted(order) == list(range(rows))
    return order


@needs_mpi
def test_trains_as_one_rank_with_the_batch_of_all(two):
    _, history = ranks.training(False, 2 * ranks.BATCH)
    assert two[0]["bits"] == two[1]["bits"]
    assert two[0]["epochs"] == two[1]["epochs"]
    assert two[0]["epochs"][-1]["train_loss"] < two[0]["epochs"][0]["train_loss"]
    close(two[0]["epochs"], ranks.records(history))


@needs_mpi
def test_options_of_fit_mean_the_same():
    first, second = job(2, "options")
    assert first == {**second, "rank": 0}
    for name, wanted in ranks.with_options(False, 2 * ranks.BATCH).items():
        close(first[name], wanted, 5e-6)


@needs_mpi
def test_same_bits_again(two):
    assert job(2, "train") == two


def until(process, step):
    """The processes of all ranks, when each has done that update."""
    found = {}
    for line in process.stdout:
        told = json.loads(line)
        found[told["rank"]] = told["pid"] if told["step"] >= step else None
        if len(found) == 2 and all(found.values()):
            return found
    raise AssertionError(process.stderr.read())


@needs_mpi
def test_killed_rank_ends_all_and_another_number_of_ranks_goes_on(tmp_path, two):
    process = start(2, ranks.__file__, "killed", tmp_path / "run")
    os.kill(until(process, 6)[1], signal.SIGKILL)  # in the second epoch
    output, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "signal 9" in output + errors
    shutil.copytree(tmp_path / "run", tmp_path / "alone")

    assert [each["bits"] for each in job(2, "killed", tmp_path / "run")] == [two[0]["bits"]] * 2
    _, history = ranks.training(False, 2 * ranks.BATCH, resume=tmp_path / "alone")
    close(ranks.records(history), two[0]["epochs"])


@needs_mpi
def test_loop_by_hand(two):
    first, second = job(2, "by_hand")
    assert first == {**second, "rank": 0}
    assert [first["loss"], first["accuracy"]] == pytest.approx(
        [two[0]["epochs"][-1][name] for name in ("val_loss", "val_accuracy")], rel=2e-6
    )


@needs_mpi
@pytest.mark.parametrize("rows", [101, 97])  # a last batch of 5 rows, and of 1, of which rank 1 has none
def test_synchronised_batch_normalisation(rows):
    first, second = job(2, "synchronised", rows)
    assert first == {**second, "rank": 0}
    _, history = ranks.training(False, 2 * ranks.BATCH, norm=True, rows=rows)
    close(first["epochs"], ranks.records(history), 1e-5)


@needs_mpi
def test_trains_on_a_device():
    """Arrays of the CPU that plays a GPU are reduced by MPI in place; ranks agree, and with CPUs but for roundings."""
    pytest.importorskip("dlfast.kernels.cuda.fibers", reason="the host of CUDA kernels is not for this system")
    first, second = job(2, "device", DLFAST_CUDA="host")
    assert first == {**second, "rank": 0}
    close(first["cuda"]["epochs"], first["cpu"]["epochs"])


@needs_mpi
def test_error_of_one_rank_ends_all():
    status, _, errors = run(2, ranks.__file__, "fails")
    assert status != 0
    assert "OSError: row 9 cannot be read" in errors
    assert "rank 1 of 2 has failed (OSError), which ends all of them" in errors


UNLIKE = {
    "model": r"ValueError: DataParallel: .*; weight is float32 \(10, 64\) on rank 0 and float32 \(12, 64\) on rank 1",
    "optimizer": "ValueError: DataParallel: .*; the optimizer is SGD on rank 0 and Adam on rank 1",
    "epochs": "ValueError: fit: .*; epochs is 2 on rank 0 and 3 on rank 1",
    "diverged": r"NonFiniteLoss: fit: the loss of batch 1 in epoch 1 is nan: .*",
    "layer": ".*the layer is broken",
}


@needs_mpi
def test_ranks_that_differ_are_told_so_alike():
    first, second = job(2, "unlike")
    for said in (first, second):
        assert said.keys() == {"rank", *UNLIKE}
        for name, pattern in UNLIKE.items():
            assert re.match(pattern, said[name]), said[name]
    assert first["diverged"] == f"{second['diverged']} (on rank 1)"
    assert first["layer"].startswith("RuntimeError: fit: rank 1 has failed, which ends the training of all: IndexError")


@needs_mpi
def test_command_line(tmp_path):
    """Two ranks share the batches and write once, errors too; one rank goes on, with batches as large."""
    command = ["-m", "dlfast.cli", "train", "perceptron", "--data", "digits", "--out", tmp_path / "run"]
    status, output, errors = run(2, *command, "--epochs", 1, "--batch-size", 16)
    assert status == 0, errors
    assert output.count("epoch 1/1") == 1
    assert "in 1 epochs of 45 updates on 1 threads of each of 2 ranks" in output  # of 1,437 rows in batches of 2 x 16
    status, _, errors = run(2, *command)
    assert status != 0
    assert errors.count("holds a run: go on with it by --resume") == 1
    status, output, errors = run(1, *command, "--resume", "--epochs", 2)
    assert status == 0, errors
    assert "in 2 epochs of 45 updates on 1 threads." in output
    assert output.count("epoch 2/2") == 1


@needs_mpi
def test_interrupt_of_one_rank_ends_all_after_the_same_update():
    assert job(2, "interrupted") == [{"rank": r, "stopped": "interrupted", "steps": 2, "epochs": 0} for r in range(2)]


@needs_mpi
def test_bench_measures_ranks():
    assert bench_ranks.measured(2, "reduce", 1000) > 0
    with pytest.raises(RuntimeError, match=r"1 ranks could not be measured:\n(.*\n)+.*IndexError"):
        bench_ranks.measured(1, "step", 1000)


def test_a_single_rank_needs_nothing():
    code = "import sys, dlfast as dl; print(dl.distributed.initialize(), 'mpi4py' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "Single(rank=0, size=1) False\n", done.stderr
    comm = distributed.Single()
    x = np.arange(3.0)
    assert comm.all_reduce(x) is x
    assert comm.all_reduce(x, async_op=True).wait() is x
    assert comm.broadcast(x) is x
    assert comm.all_gather(x).shape == (1, 3)
    assert comm.all_gather_object("a") == ["a"]
    assert (distributed.rank(), distributed.size()) == (0, 1)


def test_one_rank_trains_with_the_same_bits():
    plain, history = ranks.training(False)
    other, again = ranks.training(distributed.Single())
    assert ranks.bits(plain) == ranks.bits(other)
    assert ranks.records(history) == ranks.records(again)


def test_bad_arguments():
    comm, x = distributed.Single(), np.ones(3)
    with pytest.raises(ValueError, match=r"all_reduce: op must be one of 'sum', .*got 'add'"):
        comm.all_reduce(x, "add")
    with pytest.raises(ValueError, match="broadcast: root must be a rank, 0 to 0, got 1"):
        comm.broadcast(x, 1)
    with pytest.raises(TypeError, match="all_reduce: booleans have no sum; 'min' says whether all hold"):
        comm.all_reduce(np.array([True]))
    with pytest.raises(TypeError, match="the mean of int64 is no int64"):
        comm.all_reduce(np.arange(3), "mean")
    x.flags.writeable = False
    with pytest.raises(ValueError, match="all_reduce: the array is read-only"):
        comm.all_reduce(x)
    with pytest.raises(ValueError, match="initialize: backend must be one of"):
        distributed.initialize("gloo")
    with pytest.raises(TypeError, match="fit: distributed must be True, False or a Communicator, got 2"):
        ranks.training(2)


def test_batches_of_a_loader_that_iterates_by_itself_cannot_be_shared():
    class Own(DataLoader):
        def __iter__(self):
            return super().__iter__()

    class Two(distributed.Single):
        size = 2

    with pytest.raises(ValueError, match="shard: this loader has the part of one rank already"):
        DataLoader(ranks.data()[0], 8).shard(Two()).shard(Two())
    with pytest.raises(ValueError, match="the batches of Own, which has an __iter__ of its own, cannot be shared out"):
        train.evaluate(ranks.network(), Own(ranks.data()[0], 8), distributed=Two())


@needs_mpi
def test_mpiexec_of_another_mpi():
    code = "import dlfast as dl; dl.distributed.initialize()"
    environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_SIZE": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "RuntimeError: the launcher has started 2 processes, but mpi4py's MPI knows of one only" in done.stderr


def test_without_mpi4py():
    code = "import sys; sys.modules['mpi4py'] = None; import dlfast as dl; dl.distributed.initialize()"
    environment = {**os.environ, "PMI_SIZE": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "ImportError: several ranks need mpi4py and an MPI: install dlfast with its extra `mpi`" in done.stderr
