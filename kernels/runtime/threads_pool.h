/* The thread pool.  One launch at a time; workers spin for a short while, then sleep.

   Protocol.  `ticket` holds the launch number (high 24 bits), how many jobs were taken from the front, and how many are
   not yet taken (20 bits each; of more jobs than that, `grain` neighbours are taken as one).
     launch:  try-lock `busy`; write fn, ctx, jobs, unfinished; store ticket = (launch, 0, jobs); wake sleepers.
     worker:  read ticket; if jobs are left, read fn, ctx, jobs; compare-and-swap ticket to one less; on success run
              that job.  When none is left, subtract the jobs it ran from `unfinished`.
   The caller and workers of even number take the first job that is left, the others the last: with two threads each
   has its own end of the arrays from one launch to the next, and finds it in its own caches.
     finish:  the caller works like a worker, waits until unfinished == 0, unlocks `busy`.
   Why it is correct.  All atomics are sequentially consistent.  A swap succeeds only if the job was still free, so each
   job runs once.  The swap also vouches for fn, ctx, jobs: the next launch writes them after unfinished == 0, which
   needs the job just taken, so these reads happen before those writes; and they happen after the writes of their own
   launch, which precede the store of the ticket.  A worker that wakes late sees no job left, or fails the swap because
   the launch number moved on, and touches nothing.  What a job wrote happens before the subtraction, hence before the
   caller returns. Sleeping loses no wake-up: a worker first counts itself in `sleepers`, then looks at the ticket; the
   caller first stores the ticket, then looks at `sleepers`; the signal is sent under the mutex that the worker holds
   until it waits.  The caller's own sleep pairs `caller_asleep` with `unfinished` in the same way.

   A call finds `busy` taken when it is nested in a job or when another thread launches: it then runs its jobs itself.

   Memory.  Each thread counts the requests that it was refused.  Who runs jobs compares the count before and after; a
   worker notes the difference in `short_of` before it subtracts from `unfinished`, so that the caller sees it.
 */
#ifndef DLFAST_THREADS_POOL_H
#define DLFAST_THREADS_POOL_H
#include "runtime/threads_os.h"

#define DL_MAX_THREADS 1024
#define DL_PAUSES 32                       /* between looks at the clock */
#define DL_SCRATCH_KEEP ((size_t)64 << 20) /* larger blocks are given back at the next smaller request */
#define DL_FIELD 20 /* bits */
#define DL_MOST ((1 << DL_FIELD) - 1)
#define DL_LEFT(ticket) ((int64_t)((uint64_t)(ticket) & DL_MOST))
#define DL_FRONT(ticket) ((int64_t)((uint64_t)(ticket) >> DL_FIELD & DL_MOST))

static struct {
    dl_atomic ticket;
    char pad0[56]; /* what workers watch and what they count down lie on separate cache lines */
    dl_atomic unfinished;
    char pad1[56];
    dl_atomic fn, ctx, jobs, grain;
    dl_atomic sleepers, caller_asleep, stop, busy, wanted;
    dl_atomic short_of, refuse; /* jobs lacked memory; the number of the scratch request to refuse, 0 for none */
    int64_t launch, spin_ns, sized_for;
    long started;
    dl_mutex mutex;
    dl_cond work, done;
    dl_local scratch_key;
    dl_thread threads[DL_MAX_THREADS];
} pool;

static DL_THREAD_LOCAL long dl_refused; /* scratch requests of this thread */

/* Takes jobs until none is left; returns how many it ran. */
static int64_t dl_run_jobs(long worker) {
    const long refused = dl_refused;
    int64_t ran = 0;
    for (;;) {
        int64_t ticket = dl_load(&pool.ticket), left = DL_LEFT(ticket);
        if (!left) {
            if (dl_refused != refused) dl_store(&pool.short_of, 1);
            return ran;
        }
        dl_job fn = (dl_job)(intptr_t)dl_load(&pool.fn);
        void *ctx = (void *)(intptr_t)dl_load(&pool.ctx);
        const long grain = (long)dl_load(&pool.grain), front = (long)DL_FRONT(ticket), last = worker & 1;
        const long job = grain * (last ? front + (long)left - 1 : front), end = dl_load(&pool.jobs);
        if (!dl_cas(&pool.ticket, ticket, ticket - 1 + (last ? 0 : (int64_t)1 << DL_FIELD))) continue;
        for (long i = job; i < job + grain && i < end; i++)
            fn(ctx, i, worker);
        ran++;
    }
}

/* True as soon as `*watched` has (or, for the caller, has no) low bits set; false when the spinning time is over. */
static int dl_spin(dl_atomic *watched, int wait_for_zero) {
    int64_t until = 0;
    for (;;) {
        for (int i = 0; i < DL_PAUSES; i++) {
            if ((DL_LEFT(dl_load(watched)) == 0) == wait_for_zero) return 1;
            dl_pause();
        }
        int64_t now = dl_now_ns();
        if (!until) until = now + pool.spin_ns;
        if (now >= until || dl_load(&pool.stop)) return 0;
        dl_yield(); /* with more threads than processors the one we wait for may need this one */
    }
}

static void dl_sleep_for_work(void) {
    dl_lock(&pool.mutex);
    dl_add(&pool.sleepers, 1);
    if (!DL_LEFT(dl_load(&pool.ticket)) && !dl_load(&pool.stop)) dl_wait(&pool.work, &pool.mutex);
    dl_add(&pool.sleepers, -1);
    dl_unlock(&pool.mutex);
}

static void dl_finish_jobs(int64_t ran) {
    if (dl_add(&pool.unfinished, -ran) || !dl_load(&pool.caller_asleep)) return;
    dl_lock(&pool.mutex);
    dl_signal(&pool.done);
    dl_unlock(&pool.mutex);
}

DL_THREAD_MAIN(dl_worker_main, arg) {
    long worker = (long)(intptr_t)arg;
    while (!dl_load(&pool.stop)) {
        if (!dl_spin(&pool.ticket, 0)) {
            dl_sleep_for_work();
            continue;
        }
        int64_t ran = dl_run_jobs(worker);
        if (ran) dl_finish_jobs(ran);
    }
    return 0;
}

/* Brings the number of threads to what was asked for.  Called with `busy` held, so no job is running. */
static void dl_resize(int64_t wanted) {
    dl_store(&pool.stop, 1);
    dl_lock(&pool.mutex);
    dl_broadcast(&pool.work);
    dl_unlock(&pool.mutex);
    while (pool.started)
        dl_thread_join(pool.threads[--pool.started]);
    dl_store(&pool.stop, 0);
    while (pool.started < wanted - 1) { /* a system that refuses a thread leaves us with fewer */
        if (dl_thread_start(&pool.threads[pool.started], dl_worker_main, (void *)(intptr_t)(pool.started + 1))) break;
        pool.started++;
    }
    pool.sized_for = wanted;
}

static void dl_wake(int64_t jobs) {
    if (!dl_load(&pool.sleepers)) return;
    dl_lock(&pool.mutex);
    int64_t sleepers = dl_load(&pool.sleepers);
    if (jobs > sleepers)
        dl_broadcast(&pool.work);
    else
        for (int64_t i = 1; i < jobs; i++)
            dl_signal(&pool.work); /* the caller takes one job itself */
    dl_unlock(&pool.mutex);
}

static void dl_await_jobs(void) {
    if (dl_spin(&pool.unfinished, 1)) return;
    dl_lock(&pool.mutex);
    dl_store(&pool.caller_asleep, 1);
    while (dl_load(&pool.unfinished))
        dl_wait(&pool.done, &pool.mutex);
    dl_store(&pool.caller_asleep, 0);
    dl_unlock(&pool.mutex);
}

static int dl_run_here(dl_job fn, void *ctx, long jobs) {
    const long refused = dl_refused;
    for (long job = 0; job < jobs; job++)
        fn(ctx, job, 0);
    return dl_refused == refused ? 0 : -1;
}

static int dl_parallel_for(dl_job fn, void *ctx, long jobs) {
    int64_t wanted = dl_load(&pool.wanted);
    if (jobs <= 1 || wanted == 1 || (int64_t)jobs > 0x7fffffff || dl_swap(&pool.busy, 1))
        return dl_run_here(fn, ctx, jobs);
    if (pool.sized_for != wanted) dl_resize(wanted);
    dl_store(&pool.fn, (int64_t)(intptr_t)fn);
    dl_store(&pool.ctx, (int64_t)(intptr_t)ctx);
    const int64_t grain = ((int64_t)jobs - 1) / DL_MOST + 1, taken = ((int64_t)jobs - 1) / grain + 1;
    dl_store(&pool.jobs, jobs);
    dl_store(&pool.grain, grain);
    dl_store(&pool.unfinished, taken);
    dl_store(&pool.short_of, 0);
    pool.launch++;
    dl_store(&pool.ticket, (int64_t)((uint64_t)pool.launch << 2 * DL_FIELD | (uint64_t)taken));
    dl_wake(taken);
    if (dl_add(&pool.unfinished, -dl_run_jobs(0))) dl_await_jobs();
    const int64_t short_of = dl_load(&pool.short_of);
    dl_refused += (long)short_of; /* for a job that this call is nested in */
    dl_store(&pool.busy, 0);
    return short_of ? -1 : 0;
}

typedef struct {
    void *block[DL_SCRATCH_SLOTS];
    size_t bytes[DL_SCRATCH_SLOTS];
} dl_scratch_blocks;

DL_LOCAL_END(dl_scratch_end, arg) {
    dl_scratch_blocks *mine = (dl_scratch_blocks *)arg;
    if (!mine) return;
    for (int slot = 0; slot < DL_SCRATCH_SLOTS; slot++)
        dl_aligned_free(mine->block[slot]);
    free(mine);
}

/* The blocks of the calling thread, NULL when memory is short. */
static dl_scratch_blocks *dl_own_scratch(void) {
    dl_scratch_blocks *mine = (dl_scratch_blocks *)dl_local_get(pool.scratch_key);
    if (mine) return mine;
    mine = (dl_scratch_blocks *)calloc(1, sizeof *mine);
    if (!mine || !dl_local_set(pool.scratch_key, mine)) return mine;
    free(mine);
    return NULL;
}

/* Whether the block of a slot serves a request.  DL_SANITIZE: each has a block of its own, of its very size, so that
   the sanitizer sees what reaches beyond it or outlives it. */
static int dl_block_serves(size_t have, size_t bytes) {
#ifdef DL_SANITIZE
    return 0;
#else
    return have >= bytes && (have <= DL_SCRATCH_KEEP || bytes > DL_SCRATCH_KEEP);
#endif
}

static void *dl_own_block(dl_scratch_blocks *mine, int slot, size_t bytes) {
    if (mine->block[slot] && dl_block_serves(mine->bytes[slot], bytes)) return mine->block[slot];
    dl_aligned_free(mine->block[slot]);
    mine->block[slot] = NULL;
    if (bytes > PTRDIFF_MAX / 2) return NULL;
#ifndef DL_SANITIZE
    bytes = bytes + bytes / 4 + 4096; /* room to grow, so that a rising size does not reallocate each time */
#endif
    mine->bytes[slot] = bytes;
    return mine->block[slot] = dl_aligned_alloc(bytes ? bytes : 1);
}

/* Tests choose one request that is refused whatever memory there is. */
static int dl_is_refused(void) { return dl_load(&pool.refuse) && dl_add(&pool.refuse, -1) == 0; }

/* NULL when memory is short. */
static void *dl_scratch(int slot, size_t bytes) {
    dl_scratch_blocks *mine = dl_is_refused() ? NULL : dl_own_scratch();
    void *block = mine ? dl_own_block(mine, slot, bytes) : NULL;
    dl_refused += !block;
    return block;
}

/* The state before the first launch.  In a forked child the threads are gone and locks may be held by nobody. */
static void dl_pool_reset(void) {
    dl_mutex_init(&pool.mutex);
    dl_cond_init(&pool.work);
    dl_cond_init(&pool.done);
    pool.ticket = pool.unfinished = pool.sleepers = pool.caller_asleep = pool.stop = pool.busy = 0;
    pool.started = 0;
    pool.sized_for = 1;
}

static int dl_pool_init(void) {
    pool.wanted = 1;
    dl_pool_reset();
    return dl_local_init(&pool.scratch_key, dl_scratch_end) || dl_at_fork(dl_pool_reset) ? -1 : 0;
}
#endif
