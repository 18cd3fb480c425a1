/* The memory pool: blocks that arrays have given back are kept, by size, for the arrays to come.

   block  | dl_block (64 bytes) | payload ........ |     the payload starts at a multiple of 64 bytes

   Payloads come in classes: 64, 128, 192 and 256 bytes, from there on four to each doubling (320, 384, 448, 512, 640,
   ...), so at most a fifth of a block is unused.  Each class has a list of its free blocks, the last used first, since
   that one may still lie in a cache.  A request that finds its list empty goes to the system: blocks below 1 MiB come
   from the C library, larger ones are mapped, so that they can be given back singly, and from 2 MiB on lie in huge
   pages where the system has them, which costs one page fault in place of 512.

   The bytes kept free are bounded (dl_memory_allowed).  What is beyond the bound goes back to the system, from the
   class that has gone without a request for longest.  An array may be freed by any thread: NumPy takes and frees memory
   under the interpreter's lock, which guards everything here; a mutex does where the interpreter has no lock. */
#ifndef DLFAST_MEMORY_POOL_H
#define DLFAST_MEMORY_POOL_H
#include "runtime/threads_os.h"
#include <Python.h> /* says whether there is an interpreter's lock */
#include <stddef.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifndef _WIN32
#include <sys/mman.h>
#endif

#ifdef DL_SANITIZE /* nothing is kept, and blocks are those of the C library: the sanitizer sees what reaches beyond one */
#define DL_BATCH 1
#define DL_MAPPED SIZE_MAX
#else
#define DL_BATCH 16
#define DL_MAPPED ((size_t)1 << 20) /* payloads from this on are mapped */
#endif
#define DL_ALIGN 64
#define DL_CLASSES 240
#define DL_SMALL 4096 /* payloads up to this come from the system DL_BATCH at a time */
#define DL_HUGE ((size_t)2 << 20)   /* a huge page */
#define DL_PAGE ((size_t)64 << 10)  /* a multiple of every system's page */
#define DL_FLOOR ((int64_t)64 << 20) /* kept at least, where no limit is set */
#define DL_AUTOMATIC (-1)

typedef struct dl_block {
    struct dl_block *next; /* in the list of free ones */
    size_t payload;
    int kind; /* its class */
} dl_block;

typedef struct {
    int64_t in_use, kept, peak;                 /* bytes of payload; peak of in_use */
    int64_t from_pool, from_system, given_back; /* requests served by each, blocks given back */
    int64_t limit;                              /* bytes kept at most, or DL_AUTOMATIC */
} dl_memory_stats;

static struct {
    dl_memory_stats stats;
    dl_block *free[DL_CLASSES];
    int64_t asked[DL_CLASSES]; /* number of the last request */
} dl_memory;

#ifdef Py_GIL_DISABLED
static dl_mutex dl_memory_mutex;
static void dl_memory_lock(void) { dl_lock(&dl_memory_mutex); }
static void dl_memory_unlock(void) { dl_unlock(&dl_memory_mutex); }
static int dl_memory_lock_init(void) { /* a fork waits until no thread is inside: the child finds the lists whole */
    dl_mutex_init(&dl_memory_mutex);
    return dl_around_fork(dl_memory_lock, dl_memory_unlock) ? -1 : 0;
}
#else
#define dl_memory_lock()
#define dl_memory_unlock()
#define dl_memory_lock_init() 0
#endif

static int dl_log2(uint64_t x) { /* the highest bit that is set */
#ifdef _MSC_VER
    unsigned long bit;
    _BitScanReverse64(&bit, x);
    return (int)bit;
#else
    return 63 - __builtin_clzll(x);
#endif
}

/* The class of a request and, in *payload, the bytes of its blocks. */
static int dl_class_of(size_t bytes, size_t *payload) {
#ifdef DL_SANITIZE
    *payload = bytes;
    return 0;
#endif
    size_t below = bytes ? (bytes - 1) / DL_ALIGN : 0; /* whole units of 64 bytes, less one */
    if (below < 4) {
        *payload = (below + 1) * DL_ALIGN;
        return (int)below;
    }
    int shift = dl_log2(below) - 2;
    size_t quarter = below >> shift; /* 4..7 */
    *payload = (quarter + 1) << shift;
    *payload *= DL_ALIGN;
    return 4 * shift + (int)quarter;
}

static dl_block *dl_block_of(void *payload) { return (dl_block *)((char *)payload - DL_ALIGN); }
static void *dl_payload_of(dl_block *block) { return (char *)block + DL_ALIGN; }

#ifdef _WIN32
static void *dl_system_take(size_t payload) { return dl_aligned_alloc(payload + DL_ALIGN); }
static void dl_system_give(void *start, size_t payload) { dl_aligned_free(start); }
#else
/* Maps a block; one with huge pages starts at a multiple of them: what was mapped too much around it is cut off. */
static void *dl_map(size_t bytes, size_t align) {
    char *mapped = (char *)mmap(NULL, bytes + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return NULL;
    if (!align) return mapped;
    size_t before = (align - (uintptr_t)mapped % align) % align;
    if (before) munmap(mapped, before);
    if (before < align) munmap(mapped + before + bytes, align - before);
#ifdef MADV_HUGEPAGE
    madvise(mapped + before, bytes, MADV_HUGEPAGE);
#endif
    return mapped + before;
}

static void *dl_system_take(size_t payload) {
    if (payload < DL_MAPPED) return dl_aligned_alloc(payload + DL_ALIGN);
    return dl_map(payload + DL_PAGE, payload < DL_HUGE ? 0 : DL_HUGE);
}

static void dl_system_give(void *start, size_t payload) {
    if (payload < DL_MAPPED)
        dl_aligned_free(start);
    else
        munmap(start, payload + DL_PAGE);
}
#endif

static void dl_keep(dl_block *block) {
    block->next = dl_memory.free[block->kind];
    dl_memory.free[block->kind] = block;
    dl_memory.stats.kept += (int64_t)block->payload;
}

static dl_block *dl_unkeep(int kind) {
    dl_block *block = dl_memory.free[kind];
    dl_memory.free[kind] = block->next;
    dl_memory.stats.kept -= (int64_t)block->payload;
    return block;
}

/* Bytes that may be kept free: the limit, or what keeps all memory, used and free, within twice the most that was in
   use at one time (or 64 MiB).  Twice, so that training steps of two sizes in turn find all their blocks. */
static int64_t dl_memory_allowed(void) {
    dl_memory_stats *stats = &dl_memory.stats;
#ifdef DL_SANITIZE
    return 0;
#endif
    if (stats->limit != DL_AUTOMATIC) return stats->limit;
    int64_t all = 2 * stats->peak > DL_FLOOR ? 2 * stats->peak : DL_FLOOR;
    return all - stats->in_use;
}

/* Gives free blocks back until at most `allowed` bytes are kept. */
static void dl_trim(int64_t allowed) {
    while (dl_memory.stats.kept > allowed && dl_memory.stats.kept) {
        int oldest = -1;
        for (int kind = 0; kind < DL_CLASSES; kind++)
            if (dl_memory.free[kind] && (oldest < 0 || dl_memory.asked[kind] < dl_memory.asked[oldest])) oldest = kind;
        dl_block *block = dl_unkeep(oldest);
        dl_system_give(block, block->payload);
        dl_memory.stats.given_back++;
    }
}

/* A new block of the class, NULL where the system has none; small ones come with more, which are kept. */
static dl_block *dl_new_block(int kind, size_t payload) {
    dl_block *block = NULL;
    for (int i = payload > DL_SMALL ? DL_BATCH - 1 : 0; i < DL_BATCH; i++) {
        dl_block *next = (dl_block *)dl_system_take(payload);
        if (!next) break;
        next->payload = payload;
        next->kind = kind;
        if (block) dl_keep(block);
        block = next;
    }
    return block;
}

/* `bytes` bytes, undefined, at a multiple of 64; NULL where the system has none even without the blocks kept. */
static void *dl_memory_take(size_t bytes) {
    if (bytes > PTRDIFF_MAX / 2) return NULL;
    size_t payload;
    int kind = dl_class_of(bytes, &payload);
    dl_memory_stats *stats = &dl_memory.stats;
    dl_memory_lock();
    dl_memory.asked[kind] = stats->from_pool + stats->from_system;
    dl_block *block;
    if (dl_memory.free[kind]) {
        block = dl_unkeep(kind);
        stats->from_pool++;
    } else {
        block = dl_new_block(kind, payload);
        if (!block) {
            dl_trim(0);
            block = dl_new_block(kind, payload);
        }
        stats->from_system += block != NULL;
    }
    if (block) {
        stats->in_use += (int64_t)payload;
        if (stats->in_use > stats->peak) stats->peak = stats->in_use;
        dl_trim(dl_memory_allowed());
    }
    dl_memory_unlock();
    return block ? dl_payload_of(block) : NULL;
}

static void dl_memory_give(void *payload) {
    dl_block *block = dl_block_of(payload);
    dl_memory_lock();
    dl_memory.stats.in_use -= (int64_t)block->payload;
    dl_keep(block);
    dl_trim(dl_memory_allowed());
    dl_memory_unlock();
}

static dl_memory_stats dl_memory_get_stats(void) {
    dl_memory_lock();
    dl_memory_stats stats = dl_memory.stats;
    dl_memory_unlock();
    return stats;
}

static void dl_memory_set_limit(int64_t limit) {
    dl_memory_lock();
    dl_memory.stats.limit = limit;
    dl_trim(dl_memory_allowed());
    dl_memory_unlock();
}

/* Gives every free block back and counts the peak anew; returns the bytes. */
static int64_t dl_memory_release(void) {
    dl_memory_lock();
    int64_t kept = dl_memory.stats.kept;
    dl_trim(0);
    dl_memory.stats.peak = dl_memory.stats.in_use;
#ifdef __GLIBC__
    malloc_trim(0); /* blocks that came from the C library are still with it */
#endif
    dl_memory_unlock();
    return kept;
}

static int dl_memory_init(void) {
    dl_memory.stats.limit = DL_AUTOMATIC;
    return dl_memory_lock_init();
}
#endif
