# cython: language_level=3, binding=False, boundscheck=False
"""The fibers on which CUDA kernels run where there is no GPU; see fibers.h. `symbols` are what compiled kernels call."""
from libc.stdint cimport int64_t, uint64_t, uintptr_t

cdef extern from "fibers.h" nogil:
    ctypedef struct dl_id:
        int x, y, z
    int dl_reversed
    char *dl_trouble
    int dl_thread_x()
    int dl_thread_y()
    int dl_block_x()
    int dl_block_y()
    int dl_block_z()
    int dl_block_dim_x()
    int dl_block_dim_y()
    int dl_grid_dim_x()
    int dl_grid_dim_y()
    void dl_barrier()
    uint64_t dl_shuffle(uint64_t value, int source)
    uint64_t dl_shuffle_xor(uint64_t value, int mask)
    void *dl_shared(int64_t bytes)
    int dl_launch_host(void (*entry)(void *) noexcept nogil, void *arguments, dl_id grid, dl_id block)

symbols = {
    "dl_thread_x": <uintptr_t>&dl_thread_x,
    "dl_thread_y": <uintptr_t>&dl_thread_y,
    "dl_block_x": <uintptr_t>&dl_block_x,
    "dl_block_y": <uintptr_t>&dl_block_y,
    "dl_block_z": <uintptr_t>&dl_block_z,
    "dl_block_dim_x": <uintptr_t>&dl_block_dim_x,
    "dl_block_dim_y": <uintptr_t>&dl_block_dim_y,
    "dl_grid_dim_x": <uintptr_t>&dl_grid_dim_x,
    "dl_grid_dim_y": <uintptr_t>&dl_grid_dim_y,
    "dl_barrier": <uintptr_t>&dl_barrier,
    "dl_shuffle": <uintptr_t>&dl_shuffle,
    "dl_shuffle_xor": <uintptr_t>&dl_shuffle_xor,
    "dl_shared": <uintptr_t>&dl_shared,
}


def run_backwards(bint on):
    """Let warps and lanes of this thread's launches run from the last to the first."""
    global dl_reversed
    dl_reversed = on


def launch(name, uintptr_t entry, int64_t[::1] cells, grid, block):
    """Run a compiled kernel over a grid of blocks; cells[j] holds argument j. Raises RuntimeError for a wrong kernel."""
    cdef dl_id g, b
    cdef int status
    g.x, g.y, g.z = grid
    b.x, b.y = block
    b.z = 1
    if b.x * b.y > 1024:
        raise ValueError(f"{name}: a block has at most 1024 threads, got {block}")
    with nogil:
        status = dl_launch_host(<void (*)(void *) noexcept nogil>entry, &cells[0], g, b)
    if status < 0:
        raise MemoryError("no memory for the threads of a block")
    if status:
        raise RuntimeError(f"{name}: {dl_trouble.decode()}")
