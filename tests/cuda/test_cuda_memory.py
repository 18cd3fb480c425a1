"""The pool of device memory, over an allocator that counts; and how arguments of kernels are packed."""

import gc
import threading

import numpy as np
import pytest

from dlfast.kernels.cuda.array import Array
from dlfast.kernels.cuda.dialect import Kernel
from dlfast.kernels.cuda.memory import Pool, rounded
from dlfast.kernels.cuda.packing import Packing


class Memory:
    """An allocator of so many bytes, whose streams are done with work when a test says so."""

    def __init__(self, total=1 << 20):
        self.total, self.held, self.freed, self.next = total, {}, [], 4096
        self.marks = []

    def allocate(self, nbytes):
        if sum(self.held.values()) + nbytes > self.total:
            return 0
        pointer, self.next = self.next, self.next + nbytes
        self.held[pointer] = nbytes
        return pointer

    def free(self, pointer):
        del self.held[pointer]
        self.freed.append(pointer)

    def mark(self, stream):
        self.marks.append({"stream": stream, "passed": False})
        return self.marks[-1]

    def passed(self, mark):
        return mark["passed"]

    def describe(self):
        return f"{self.total - sum(self.held.values())} of {self.total} bytes are free"


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def pool(memory):
    return Pool(memory, "cuda:0")


def test_sizes_of_blocks():
    assert [rounded(n) for n in (0, 1, 512, 513, 4096, 4097, 9000)] == [512, 512, 512, 1024, 4096, 4608, 9216]
    for nbytes in (5_000, 70_001, 1 << 20, (1 << 20) + 1, 123_456_789):
        assert nbytes <= rounded(nbytes) <= nbytes * 9 / 8
        assert rounded(rounded(nbytes)) == rounded(nbytes)


def test_what_arrays_give_back_is_taken_again(pool, memory):
    first = pool.take(1000, "a")
    pointer = first.pointer
    assert pool.stats() == (1024, 0, 1024, 0, 1, 0)
    del first
    assert pool.stats() == (0, 1024, 1024, 0, 1, 0)
    again = pool.take(600, "a")
    assert again.pointer == pointer
    assert pool.stats() == (1024, 0, 1024, 1, 1, 0)
    other = pool.take(600, "a")
    assert other.pointer != pointer
    del again, other
    assert pool.release() == 2048
    assert not memory.held
    assert pool.stats() == (0, 0, 0, 1, 2, 2)


def test_a_block_stays_with_its_stream(pool):
    block = pool.take(100, "a")
    pointer = block.pointer
    del block
    assert pool.take(100, "b").pointer != pointer
    assert pool.take(100, "a").pointer == pointer


def test_a_block_waits_for_other_streams_that_use_it(pool, memory):
    block = pool.take(100, "a")
    pointer = block.pointer
    block.used_by("a")
    block.used_by("b")
    block.used_by("c")
    block.used_by("b")
    del block
    one, two = pool.take(100, "a"), pool.take(100, "a")
    assert pointer not in (one.pointer, two.pointer)
    assert sorted(mark["stream"] for mark in memory.marks) == ["b", "c"]
    memory.marks[0]["passed"] = True
    assert pool.take(100, "a").pointer not in (pointer, one.pointer, two.pointer)
    memory.marks[1]["passed"] = True
    pool.release()
    assert pointer in memory.freed


def test_a_block_is_free_once_the_other_stream_is_done(pool, memory):
    block = pool.take(100, "a")
    pointer = block.pointer
    block.used_by("b")
    del block
    assert pool.stats().kept == 512
    memory.marks[0]["passed"] = True
    assert pool.take(100, "a").pointer == pointer


def test_out_of_memory(pool, memory):
    kept = pool.take(1 << 19)
    del kept
    large = pool.take((1 << 20) - (1 << 16))  # what is kept goes back first
    assert len(memory.freed) == 1
    with pytest.raises(MemoryError) as error:
        pool.take(70000)
    assert str(error.value) == (
        "cuda:0 has no memory for an array of 70000 bytes: 65536 of 1048576 bytes are free, of which arrays hold "
        "983040; smaller batches need less"
    )
    assert pool.stats().in_use == large.size
    pool.take(1000)


def test_a_private_pool_keeps_its_blocks_to_itself(pool, memory):
    private = pool.private()
    block, output = private.take(100, "g"), private.take(100, "g")
    pointer = block.pointer
    del block
    assert pool.take(100, "g").pointer != pointer
    assert pool.stats().in_use == 512
    assert private.take(100, "g").pointer == pointer
    private.close()
    assert pointer in memory.freed
    assert output.pointer in memory.held
    pointer = output.pointer
    del output
    assert pool.stats().in_use == 0
    assert pointer in memory.freed


def test_a_private_pool_may_have_what_the_other_keeps(pool, memory):
    block = pool.take(1 << 20)
    del block
    assert pool.private().take(1 << 20).size == 1 << 20
    gc.collect()


def test_threads_share_a_pool(pool):
    def work():
        for n in range(300):
            blocks = [pool.take(512 * (1 + n % 3), "a") for _ in range(3)]
            assert len({block.pointer for block in blocks}) == 3

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = pool.stats()
    assert stats.in_use == 0
    assert stats.from_pool + stats.from_system == 4 * 300 * 3
    assert stats.from_system <= 36


def kernel_of(kinds):
    arguments = ", ".join(f"a{j}" for j in range(len(kinds)))
    scope = {}
    exec(f"def packed({arguments}): pass", scope)
    kernel = Kernel(scope["packed"], kinds, "packed")
    kernel.__class__.__init__.__globals__["KERNELS"].remove(kernel)
    return kernel


def at(pointer, dtype):
    return Array(None, (4,), dtype, None, pointer)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arguments_are_packed_in_cells(dtype):
    kernel, real = kernel_of("puiwflb"), np.dtype(dtype)
    cells = np.zeros(7, np.int64)
    given = at(64, dtype), at(68, dtype), -3, -(1 << 40), 0.1, at(128, "int64"), None
    Packing(kernel, real).into(cells, given)
    assert cells[[0, 1, 3, 5, 6]].tolist() == [64, 68, -(1 << 40), 128, 0]
    assert cells[2:3].view(np.int32)[0] == -3
    assert cells[4:5].view(real)[0] == real.type(0.1)


def test_numbers_that_do_not_fit():
    cells = np.zeros(2, np.int64)
    packing = Packing(kernel_of("fi"), np.dtype(np.float32))
    packing.into(cells, (1e300, True))
    assert cells[:1].view(np.float32)[0] == np.inf
    assert cells[1:].view(np.int32)[0] == 1
    with pytest.raises(OverflowError, match="kernel packed: a number is beyond its kind .*fewer than 2.31 elements"):
        packing.into(cells, (1.0, 1 << 31))


def test_arrays_that_do_not_fit():
    packing = Packing(kernel_of("pl"), np.dtype(np.float32))
    for given in ((at(64, "float64"), None), (at(68, "float32"), None), (None, at(64, "int32"))):
        with pytest.raises(TypeError, match=r"kernel packed: expected an aligned array of (float32|int64), got Array"):
            packing.into(np.zeros(2, np.int64), given)
