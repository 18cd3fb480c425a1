/* Sizes of the machine's caches, in bytes: what fits beside what, and from where on results are written past them.  They
   decide how fast something is, never in which order numbers are added (simd_sizes.h). */
#ifndef DLFAST_CACHES_H
#define DLFAST_CACHES_H
#include <stddef.h>
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
#endif

typedef struct {
    size_t l2, last; /* of one core; of the cores that share the last level */
} dl_cache_sizes;

static size_t dl_within(size_t size, size_t least, size_t most) {
    return size < least ? least : size > most ? most : size;
}

/* 512 KB and 32 MB where the processor does not tell.  Within bounds: a virtual machine may tell anything. */
static dl_cache_sizes dl_read_caches(void) {
    dl_cache_sizes sizes = {(size_t)512 << 10, (size_t)32 << 20};
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    /* Cache by cache: leaf 4 (Intel) or 0x8000001D (AMD), each with its kind, level and shape. */
    const unsigned leaves[2] = {4, 0x8000001D};
    for (int i = 0; i < 2; i++)
        for (unsigned index = 0, a, b, c, d; index < 8; index++) {
            if (!__get_cpuid_count(leaves[i], index, &a, &b, &c, &d) || !(a & 31)) break;
            const size_t size = (size_t)((b >> 22) + 1) * ((b >> 12 & 1023) + 1) * ((b & 4095) + 1) * ((size_t)c + 1);
            const unsigned level = a >> 5 & 7, instructions = (a & 31) == 2;
            if (level == 2 && !instructions) sizes.l2 = sizes.last = size;
            if (level > 2) sizes.last = size;
        }
#endif
    sizes.l2 = dl_within(sizes.l2, (size_t)256 << 10, (size_t)2 << 20);
    sizes.last = dl_within(sizes.last, (size_t)2 << 20, (size_t)256 << 20);
    return sizes;
}
#endif
