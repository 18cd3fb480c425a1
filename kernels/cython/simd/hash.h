/* Random numbers for dropout, made from a seed and a counter: whoever computes word i finds the same, in any order and in
   every backend.  hash(seed, index), index = (high, low), is defined in the reference (elementwise.py). */
#ifndef DLFAST_HASH_H
#define DLFAST_HASH_H
#include "simd/simd.h"

#define DL_DROP 64 /* words made at a time */

typedef struct {
    uint32_t a, b;
} dl_keys;

#define DL_HASH_1 0xED5AD4BBu
#define DL_HASH_2 0xAC4C1B51u
#define DL_HASH_3 0x31848BABu

/* Source: C. Wellons, "Prospecting for hash functions" (2018), triple32. */
static uint32_t dl_triple32(uint32_t x) {
    x = (x ^ (x >> 17)) * DL_HASH_1;
    x = (x ^ (x >> 11)) * DL_HASH_2;
    x = (x ^ (x >> 15)) * DL_HASH_3;
    return x ^ (x >> 14);
}
static dl_keys dl_hash_keys(uint64_t seed, uint32_t high) {
    const uint32_t b = dl_triple32((uint32_t)(seed >> 32) + dl_triple32((uint32_t)seed));
    const uint32_t key_a = dl_triple32(high + b);
    return (dl_keys){key_a, dl_triple32(key_a + dl_triple32((uint32_t)seed))};
}
DL_UNUSED static uint32_t dl_hash(dl_keys keys, uint32_t low) {
    uint32_t x = low + keys.a;
    x = (x ^ (x >> 17)) * DL_HASH_1;
    x = x ^ keys.b;
    x = (x ^ (x >> 11)) * DL_HASH_2;
    x = (x ^ (x >> 15)) * DL_HASH_3;
    return x ^ (x >> 14);
}

#define DL_IMPL "simd/hash.inc.h"
#include "simd/simd.h"
#endif
