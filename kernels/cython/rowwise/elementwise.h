/* Activations and dropout: each array is read once and written once, in registers, by jobs of DL_MAP_JOB elements.

   The formulas stand in elementwise.inc.h, the elementary functions and their errors in vmath.inc.h.
   dropout keeps element i if hash(seed, i) >= threshold; the hash is the same in every backend (see the reference). */
#ifndef DLFAST_ELEMENTWISE_H
#define DLFAST_ELEMENTWISE_H
#include "runtime/threads.h"
#include "simd/simd.h"
#include "simd/hash.h"

#define DL_MAP_JOB 16384

typedef struct {
    long n;
    const void *a, *b; /* b = a where there is only one */
    void *out, *slope; /* slope: the derivative, NULL where it is not made */
    double p, q; /* options: slope, alpha, beta and threshold, scale, bounds */
    uint64_t seed;
    uint32_t threshold;
} dl_map;

#define DL_IMPL "simd/vmath.inc.h"
#include "simd/simd.h"
#define DL_IMPL "rowwise/elementwise.inc.h"
#include "simd/simd.h"

enum {
    DL_MAP_RELU,
    DL_MAP_SIGMOID,
    DL_MAP_TANH,
    DL_MAP_LEAKY_RELU,
    DL_MAP_ELU,
    DL_MAP_SOFTPLUS,
    DL_MAP_HARDSWISH,
    DL_MAP_HARDTANH,
    DL_MAP_HARDSIGMOID,
    DL_MAP_SELU,
    DL_MAP_CELU,
    DL_MAP_SOFTSIGN,
    DL_MAP_LOGSIGMOID,
    DL_MAP_THRESHOLD,
    DL_MAP_HARDSHRINK,
    DL_MAP_SOFTSHRINK,
    DL_MAP_GELU, /* from here on the forward makes the derivative too, and the backward is a product with it */
    DL_MAP_GELU_TANH,
    DL_MAP_SILU,
    DL_MAP_MISH,
    DL_MAPS
};
#define DL_BOTH(name) {DL_TABLE(name##_forward), DL_TABLE(name##_backward)}
#define DL_BY_SLOPE(name) {DL_TABLE(name##_slope), DL_TABLE(product)}
static const dl_job dl_maps[DL_MAPS][2][2][DL_ISAS] = {
    DL_BOTH(relu),       DL_BOTH(sigmoid),   DL_BOTH(tanh),          DL_BOTH(leaky_relu), DL_BOTH(elu),
    DL_BOTH(softplus),   DL_BOTH(hardswish), DL_BOTH(hardtanh),      DL_BOTH(hardsigmoid), DL_BOTH(selu),
    DL_BOTH(celu),       DL_BOTH(softsign),  DL_BOTH(logsigmoid),    DL_BOTH(threshold),  DL_BOTH(hardshrink),
    DL_BOTH(softshrink), DL_BY_SLOPE(gelu),  DL_BY_SLOPE(gelu_tanh), DL_BY_SLOPE(silu),   DL_BY_SLOPE(mish)};
static const dl_job dl_dropouts[2][DL_ISAS] = DL_TABLE(dropout_job);

static void dl_map_run(dl_map *m, int op, int backward, int dtype) {
    dl_parallel_for(DL_PICK(dl_maps[op][backward], dtype), m, dl_ceil_div(m->n, DL_MAP_JOB));
}
static void dl_dropout_run(dl_map *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_dropouts, dtype), m, dl_ceil_div(m->n, DL_MAP_JOB));
}
#endif
