"""Ranks on GPUs: NCCL's calls on a stand-in that has its functions, held against nccl4py's own where that is there."""

import ctypes
import inspect
import os
import subprocess
import sys
from enum import IntEnum

import numpy as np
import pytest
from ondevice import device_in_use, up

import dlfast as dl
from dlfast import distributed
from dlfast.distributed import Nccl, nccl

DTYPES = (np.float32, np.float64, np.float16, np.int32, np.int64, np.uint8)


class Twin:
    """nccl4py's functions for two ranks of which the other one has whatever this one has; `calls` names them."""

    DataType = IntEnum("DataType", {
        "Int8": 0, "Uint8": 1, "Int32": 2, "Uint32": 3, "Int64": 4, "Uint64": 5, "Float16": 6, "Float32": 7,
        "Float64": 8, "Bfloat16": 9,
    })  # fmt: skip
    RedOp = IntEnum("RedOp", {"Sum": 0, "Prod": 1, "Max": 2, "Min": 3, "Avg": 4})
    _numpy = {0: np.int8, 1: np.uint8, 2: np.int32, 4: np.int64, 6: np.float16, 7: np.float32, 8: np.float64}

    def __init__(self):
        self.calls = []

    def _at(self, address, count, datatype):
        dtype = np.dtype(self._numpy[datatype])
        return np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype)

    def get_unique_id(self):
        self.calls.append("get_unique_id")
        return bytes(range(128))

    def comm_init_rank_scalable(self, nranks, myrank, n_id, comm_ids, config):
        self.calls.append(f"init {myrank} of {nranks}")
        assert (n_id, config, comm_ids) == (1, 0, bytes(range(128)))
        assert not memoryview(comm_ids).readonly
        return "comm"

    def all_reduce(self, sendbuff, recvbuff, count, datatype, op, comm, stream):
        self.calls.append(f"all_reduce {count}")
        x = self._at(recvbuff, count, datatype)
        assert sendbuff == recvbuff
        assert (comm, stream) == ("comm", 0)
        assert isinstance(op, int)
        x[...] = {"Sum": x + x, "Prod": x * x}.get(self.RedOp(op).name, x)

    def broadcast(self, sendbuff, recvbuff, count, datatype, root, comm, stream):
        self.calls.append(f"broadcast {count} of {root}")
        assert (sendbuff, comm, stream) == (recvbuff, "comm", 0)

    def all_gather(self, sendbuff, recvbuff, sendcount, datatype, comm, stream):
        self.calls.append(f"all_gather {sendcount}")
        x = self._at(sendbuff, sendcount, datatype)
        self._at(recvbuff, 2 * sendcount, datatype).reshape(2, -1)[...] = x

    def comm_destroy(self, comm):
        self.calls.append("destroy")

    def comm_abort(self, comm):
        self.calls.append("abort")


FUNCTIONS = [name for name, value in vars(Twin).items() if name[0] != "_" and inspect.isfunction(value)]


@pytest.fixture
def twin(monkeypatch, tmp_path):
    """The stand-in, for rank 0 of two that a launcher has started."""
    if not hasattr(device_in_use(), "view"):
        pytest.skip("the stand-in works on memory of the CPU")
    found = Twin()
    monkeypatch.setattr(nccl, "_nccl4py", lambda: found)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", nccl.FILE: str(tmp_path / "id")}.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def comm(twin):
    return Nccl(device_in_use())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_stand_in_has_the_arguments_of_nccl4py(name):
    real = pytest.importorskip("nccl.bindings.nccl", reason="held against nccl4py (the extra `nccl`)")
    ours = list(inspect.signature(getattr(Twin, name)).parameters)[1:]
    assert list(inspect.signature(getattr(real, name)).parameters) == ours


def test_numbers_are_those_of_nccl4py():
    real = pytest.importorskip("nccl.bindings.nccl", reason="held against nccl4py (the extra `nccl`)")
    for kind in ("DataType", "RedOp"):
        theirs = {name: int(value) for name, value in getattr(real, kind).__members__.items()}
        assert {name: int(value) for name, value in getattr(Twin, kind).__members__.items()}.items() <= theirs.items()
    assert len(bytes(real.UniqueId())) == 128


def test_address_of_rank_0_is_where_ranks_meet():
    """With NCCL_COMM_ID every rank has the same id, of NCCL itself, without being told."""
    code = "from nccl.bindings import nccl; print(bytes(nccl.get_unique_id()).hex())"
    command, environment = [sys.executable, "-c", code], {**os.environ, "NCCL_COMM_ID": "127.0.0.1:23456"}
    ids = [subprocess.run(command, capture_output=True, text=True, env=environment) for _ in range(2)]
    if any(each.returncode for each in ids):
        pytest.skip("needs nccl4py and NCCL (the extra `nccl`)")
    assert ids[0].stdout == ids[1].stdout
    assert len(ids[0].stdout.strip()) == 256


def test_nccl_itself_takes_the_call_that_connects_ranks(monkeypatch):
    """Without a GPU it gets as far as asking CUDA for one."""
    pytest.importorskip("nccl.bindings.nccl", reason="needs nccl4py and NCCL (the extra `nccl`)")
    if not hasattr(device_in_use(), "view"):
        pytest.skip("a GPU is here, and NCCL would wait for the other rank")
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "NCCL_COMM_ID": "127.0.0.1:23457"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match=r"(?i)cuda error|libnccl"):
        Nccl(device_in_use())


def test_nccl_itself_takes_the_arguments_of_collectives(comm):
    """Of a communicator that is none it says that this argument is invalid; nothing else is wrong."""
    real = pytest.importorskip("nccl.bindings.nccl", reason="needs nccl4py and NCCL (the extra `nccl`)")
    comm._nccl, comm._comm = real, real.Comm()
    array = up(np.zeros(3, np.float32))
    for action in (comm.all_reduce, comm.broadcast, comm.all_gather):
        with pytest.raises(Exception, match=r"(?i)invalid argument|libnccl"):
            action(array)


def test_ranks_meet_by_a_file(comm, twin, monkeypatch):
    assert twin.calls == ["get_unique_id", "init 0 of 2"]
    monkeypatch.setenv("RANK", "1")
    other = Nccl(device_in_use())  # reads what rank 0 has written
    assert twin.calls[2:] == ["init 1 of 2"]
    assert (other.rank, other.size, repr(comm)) == (1, 2, "Nccl(rank=0, size=2)")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", [up, np.array], ids=["device", "cpu"])
def test_reductions(comm, dtype, place):
    x = np.arange(12).reshape(3, 4).astype(dtype)
    for op, wanted in {"sum": 2 * x, "product": x * x, "max": x, "min": x}.items():
        array = place(x)
        assert comm.all_reduce(array, op) is array
        np.testing.assert_array_equal(array if place is np.array else array.numpy(), wanted.astype(dtype))
        array = place(x)
        assert comm.all_reduce(array, op, async_op=True).wait() is array
        np.testing.assert_array_equal(array if place is np.array else array.numpy(), wanted.astype(dtype))
    gathered = comm.all_gather(place(x))
    np.testing.assert_array_equal(gathered if place is np.array else gathered.numpy(), [x, x])
    assert comm.broadcast(array, 1) is array


def test_parts_of_arrays(comm):
    x = np.arange(12.0).reshape(3, 4)
    array = up(x)
    comm.all_reduce(array[:, ::2])
    x[:, ::2] *= 2
    np.testing.assert_array_equal(array.numpy(), x)
    comm.all_reduce(array[1])
    x[1] *= 2
    np.testing.assert_array_equal(array.numpy(), x)


def test_objects_go_through_the_gpu_where_there_is_no_mpi(comm):
    assert comm.all_gather_object({"a": [1, "b"]}) == [{"a": [1, "b"]}] * 2
    comm.barrier()


def test_gradients_of_a_model_on_the_device(comm, twin):
    """One reduction of one flat array for all parameters; the mean of two equal ones is what each has."""
    model = dl.nn.Sequential(dl.nn.Linear(3, 4), dl.nn.Linear(4, 2)).to("cuda")
    optimizer = dl.optim.SGD(model.parameters(), lr=0.1)
    ranks = distributed.DataParallel(model, optimizer, comm)
    model(dl.ones(5, 3).to("cuda")).sum().backward()
    before, twin.calls[:] = [p.grad.numpy() for p in model.parameters()], []
    ranks.average_gradients(5)
    for p, wanted in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), wanted)
    assert [call for call in twin.calls if call != "all_reduce 1"] == ["all_reduce 50"]  # 12, 4 and 8 padded to 16, 2


def test_end(comm, twin):
    comm.close()
    comm.close()
    assert twin.calls.count("destroy") == 1


def test_errors(comm, monkeypatch):
    with pytest.raises(TypeError, match="NCCL knows no int16; it knows int8, uint8"):
        comm.all_reduce(up(np.zeros(3, np.int16)))
    monkeypatch.delenv(nccl.FILE)
    with pytest.raises(RuntimeError, match="cannot find each other: start them by mpiexec.*or DLFAST_NCCL_FILE"):
        Nccl(device_in_use())
    monkeypatch.delenv("RANK")
    with pytest.raises(RuntimeError, match="no launcher says which rank"):
        Nccl(device_in_use())
    monkeypatch.setattr(nccl, "PATIENCE", 0.1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv(nccl.FILE, "nowhere")
    with pytest.raises(RuntimeError, match=r"rank 0 has not written nowhere within"):
        Nccl(device_in_use())


def test_one_rank_on_a_real_gpu():
    """All that can be tried on one GPU: the calls are accepted, and change nothing."""
    pytest.importorskip("nccl.bindings.nccl", reason="needs nccl4py (the extra `nccl`)")
    if hasattr(device_in_use(), "view"):
        pytest.skip("needs a GPU")
    comm = Nccl(device_in_use(), distributed.Single())
    x = np.arange(1000.0).astype(np.float32)
    array = up(x)
    comm._reduce(array, "sum")
    comm._start(array, "mean").wait()
    comm._broadcast(array, 0)
    np.testing.assert_array_equal(array.numpy(), x)
    np.testing.assert_array_equal(comm._all_gather(array).numpy(), [x])
    comm.close()
