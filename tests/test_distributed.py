"""Several ranks: what they tell each other, and that they train as one rank with the batch of all of them does."""

import os
import subprocess
import sys

import numpy as np
import pytest
import ranks
from mpi import job, needs_mpi

from dlfast import distributed, train
from dlfast.data import DataLoader


def close(found, wanted):
    """Whether the records of two histories agree but for roundings."""
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours == pytest.approx(theirs, rel=2e-6)


@pytest.fixture(scope="module")
def two():
    """Both ranks of a training, and all that they have told each other."""
    return job(2, "train")


@needs_mpi
@pytest.mark.parametrize("count", [2, 3])
def test_collectives_and_shards(count):
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
def test_same_bits_again(two):
    assert job(2, "train") == two


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

    with pytest.raises(ValueError, match="the batches of Own, which has an __iter__ of its own, cannot be shared out"):
        train.evaluate(ranks.network(), Own(ranks.data()[0], 8), distributed=Two())


def test_without_mpi4py():
    code = "import sys; sys.modules['mpi4py'] = None; import dlfast as dl; dl.distributed.initialize()"
    environment = {**os.environ, "PMI_SIZE": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "ImportError: several ranks need mpi4py and an MPI: install dlfast with its extra `mpi`" in done.stderr
