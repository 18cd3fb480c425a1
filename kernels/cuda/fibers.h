// Runs CUDA kernels on the host: each thread of a block is a fiber, and a block is one host thread.
//
// A fiber runs until a barrier or a warp shuffle. A warp whose lanes stop at different points is an error: a barrier or a
// shuffle in divergent code, which hangs or lies on a GPU, fails here and is told by block and warp. Warps and lanes can
// run backwards, so that a missing barrier changes a result in one of the two orders. Shared memory starts as NaN, ends
// in guards that nobody may write, and is refused beyond what every GPU has.
#pragma once
#undef _FORTIFY_SOURCE    // its longjmp check refuses jumps between stacks
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { DL_WARP = 32, DL_MOST_THREADS = 1024, DL_STACK = 64 << 10 };
enum { DL_SHARED = 48 << 10, DL_MOST_TABLES = 16, DL_GUARD = 64 };
typedef enum { DL_READY, DL_SHUFFLE, DL_BARRIER, DL_DONE } dl_state;

typedef struct {
    ucontext_t start;
    jmp_buf here;
    char *stack;
    dl_state state;
    int begun, source, declared;
    uint64_t value;
} dl_fiber;

typedef struct { int x, y, z; } dl_id;

static __thread dl_fiber *dl_fibers;
static __thread int dl_current, dl_reversed;
static __thread dl_id dl_block, dl_block_dim, dl_grid_dim;
static __thread jmp_buf dl_scheduler;
static __thread void (*dl_entry)(void *);
static __thread void *dl_arguments;
static __thread char dl_trouble[160];

static __thread char dl_shared_memory[DL_SHARED + DL_MOST_TABLES * DL_GUARD] __attribute__((aligned(128)));
static __thread int dl_tables, dl_table_at[DL_MOST_TABLES], dl_table_bytes[DL_MOST_TABLES], dl_shared_used;

static void dl_tell(const char *what, int thread) {
    if (!dl_trouble[0])
        snprintf(dl_trouble, sizeof dl_trouble, "%s in block (%d, %d), warp %d", what, dl_block.x, dl_block.y,
                 thread / DL_WARP);
}

static void dl_stop(dl_state why) {
    dl_fiber *fiber = dl_fibers + dl_current;
    fiber->state = why;
    if (!_setjmp(fiber->here)) _longjmp(dl_scheduler, 1);
}

// What kernels call.

static int dl_thread_x(void) { return dl_current % dl_block_dim.x; }
static int dl_thread_y(void) { return dl_current / dl_block_dim.x; }
static int dl_block_x(void) { return dl_block.x; }
static int dl_block_y(void) { return dl_block.y; }
static int dl_block_z(void) { return dl_block.z; }
static int dl_block_dim_x(void) { return dl_block_dim.x; }
static int dl_block_dim_y(void) { return dl_block_dim.y; }
static int dl_grid_dim_x(void) { return dl_grid_dim.x; }
static int dl_grid_dim_y(void) { return dl_grid_dim.y; }
static void dl_barrier(void) { dl_stop(DL_BARRIER); }

static uint64_t dl_shuffle(uint64_t value, int source) {
    dl_fiber *fiber = dl_fibers + dl_current;
    fiber->value = value;
    fiber->source = source;
    dl_stop(DL_SHUFFLE);
    return dl_fibers[dl_current].value;
}

static uint64_t dl_shuffle_xor(uint64_t value, int mask) { return dl_shuffle(value, (dl_current % DL_WARP) ^ mask); }

// The k-th array of shared memory that a thread declares is the k-th of all threads of the block.
static void *dl_shared(int64_t bytes) {
    int k = dl_fibers[dl_current].declared++;
    if (k < dl_tables && dl_table_bytes[k] == bytes) return dl_shared_memory + dl_table_at[k];
    if (k != dl_tables || k == DL_MOST_TABLES || dl_shared_used + bytes > DL_SHARED) {
        dl_tell(k != dl_tables ? "threads declare different shared memory" : "more shared memory than 48 KiB", dl_current);
        dl_stop(DL_BARRIER);    // for ever: the launch ends here
    }
    dl_table_at[k] = dl_shared_used + k * DL_GUARD;
    dl_table_bytes[k] = (int)bytes;
    dl_shared_used += (int)((bytes + 15) / 16 * 16);
    dl_tables++;
    return dl_shared_memory + dl_table_at[k];
}

// The scheduler.

static void dl_body(void) {
    for (;;) {    // a finished fiber serves the next block: no system call
        dl_entry(dl_arguments);
        dl_stop(DL_DONE);
    }
}

static void dl_resume(int t) {
    dl_fiber *fiber = dl_fibers + t;
    dl_current = t;
    fiber->state = DL_READY;
    if (_setjmp(dl_scheduler)) return;
    if (fiber->begun) _longjmp(fiber->here, 1);
    fiber->begun = 1;
    setcontext(&fiber->start);
}

static int dl_prepare(int threads) {
    if (!dl_fibers && !(dl_fibers = calloc(DL_MOST_THREADS, sizeof *dl_fibers))) return -1;
    for (int t = 0; t < threads; t++) {
        dl_fiber *fiber = dl_fibers + t;
        if (!fiber->stack && !(fiber->stack = malloc(DL_STACK))) return -1;
        if (!fiber->begun || fiber->state != DL_DONE) {    // new, or left where a failed launch stopped
            getcontext(&fiber->start);
            fiber->start.uc_stack.ss_sp = fiber->stack;
            fiber->start.uc_stack.ss_size = DL_STACK;
            fiber->start.uc_link = NULL;
            makecontext(&fiber->start, dl_body, 0);
            fiber->begun = 0;
        }
        fiber->state = DL_READY;
        fiber->declared = 0;
    }
    memset(dl_shared_memory, 0xff, sizeof dl_shared_memory);
    dl_tables = dl_shared_used = 0;
    return 0;
}

static void dl_exchange(int first, int end) {
    uint64_t values[DL_WARP];
    for (int t = first; t < end; t++) values[t - first] = dl_fibers[t].value;
    for (int t = first; t < end; t++) dl_fibers[t].value = values[dl_fibers[t].source & (DL_WARP - 1)];
}

// Let a warp run to its next barrier or its end. 1 at a barrier, 0 at the end, -1 for divergence.
static int dl_run_warp(int first, int end) {
    for (;;) {
        int count[4] = {0};
        for (int i = first; i < end; i++) {
            int t = dl_reversed ? first + end - 1 - i : i;
            if (dl_fibers[t].state != DL_DONE) dl_resume(t);
        }
        for (int t = first; t < end; t++) count[dl_fibers[t].state]++;
        if (dl_trouble[0]) return -1;
        if (count[DL_SHUFFLE] == end - first) {
            dl_exchange(first, end);
            continue;
        }
        if (count[DL_SHUFFLE]) dl_tell("a shuffle that not all lanes reach", first);
        if (count[DL_BARRIER] && count[DL_DONE]) dl_tell("a barrier that not all threads reach", first);
        return dl_trouble[0] ? -1 : count[DL_BARRIER] > 0;
    }
}

static void dl_check_guards(void) {
    for (int k = 0; k < dl_tables; k++)
        for (int i = 0; i < DL_GUARD; i++)
            if (dl_shared_memory[dl_table_at[k] + dl_table_bytes[k] + i] != (char)0xff)
                dl_tell("a write beyond the end of shared memory", 0);
}

static int dl_run_block(int threads) {
    int warps = (threads + DL_WARP - 1) / DL_WARP;
    for (int waiting = warps; waiting;) {    // one turn a barrier
        waiting = 0;
        for (int i = 0; i < warps; i++) {
            int first = (dl_reversed ? warps - 1 - i : i) * DL_WARP;
            int end = first + DL_WARP < threads ? first + DL_WARP : threads;
            int at_barrier = dl_run_warp(first, end);
            if (at_barrier < 0) return 1;
            waiting += at_barrier;
        }
        if (waiting && waiting != warps) {
            dl_tell("a barrier that not all warps reach", 0);
            return 1;
        }
    }
    dl_check_guards();
    return dl_trouble[0] != 0;
}

// 0; 1 where the kernel is wrong (dl_trouble says how); -1 without memory.
static int dl_launch_host(void (*entry)(void *), void *arguments, dl_id grid, dl_id block) {
    int threads = block.x * block.y;
    dl_entry = entry;
    dl_arguments = arguments;
    dl_grid_dim = grid;
    dl_block_dim = block;
    dl_trouble[0] = 0;
    for (dl_block.z = 0; dl_block.z < grid.z; dl_block.z++)
        for (dl_block.y = 0; dl_block.y < grid.y; dl_block.y++)
            for (dl_block.x = 0; dl_block.x < grid.x; dl_block.x++) {
                if (dl_prepare(threads)) return -1;
                if (dl_run_block(threads)) return 1;
            }
    return 0;
}
