/* The registers of simd.h: load, store, splat, compare, select, and the parts of them that the ends of rows need.

   DL_ISA is the width of the instructions that a copy is written in: 512 with mask registers, 256, 128, or 0 for what the
   compiler makes of vectors of DL_BYTES bytes (or of single numbers).  A comparison gives a `vmask`, which vsel takes and
   & and ~ combine: a mask register with AVX-512, else a register whose lanes are all ones or 0. */
#if DL_ISA == 512
#define MM(name) DL_CAT(_mm512_##name, PS)
#elif DL_ISA == 256
#define MM(name) DL_CAT(_mm256_##name, PS)
#else
#define MM(name) DL_CAT(_mm_##name, PS)
#endif

#if DL_VECTORS
typedef real vec __attribute__((vector_size(DL_BYTES)));
typedef ireal ivec __attribute__((vector_size(DL_BYTES)));
typedef real uvec __attribute__((vector_size(DL_BYTES), aligned(sizeof(real)), may_alias));
DL_INLINE vec DL_FN(vload)(const real *p) { return (vec) * (const uvec *)p; }
DL_INLINE void DL_FN(vstore)(real *p, vec v) { *(uvec *)p = (uvec)v; }
DL_INLINE vec DL_FN(vsplat)(real a) { return a - (vec){0}; } /* a - 0 keeps -0.0, which a + 0 would not */
DL_INLINE ivec DL_FN(isplat)(ireal a) { return a + (ivec){0}; }
DL_INLINE real DL_FN(vlane)(vec v, int lane) { return v[lane]; }
#else
typedef real vec;
typedef ireal ivec;
DL_INLINE vec DL_FN(vload)(const real *p) { return *p; }
DL_INLINE void DL_FN(vstore)(real *p, vec v) { *p = v; }
DL_INLINE vec DL_FN(vsplat)(real a) { return a; }
DL_INLINE ivec DL_FN(isplat)(ireal a) { return a; }
DL_INLINE real DL_FN(vlane)(vec v, int lane) { return (void)lane, v; }
#endif

#if DL_ISA == 512
#if DL_DOUBLE
typedef __mmask8 vmask;
#else
typedef __mmask16 vmask;
#endif
#define COMPARE(a, b, how) DL_CAT(MM(cmp), mask)(a, b, how)
#define COMPARE_INTEGERS(a, b, how) DL_CAT(DL_CAT(_mm512_cmp, EPI), mask)((__m512i)(a), (__m512i)(b), how)
DL_INLINE vmask DL_FN(vlt)(vec a, vec b) { return COMPARE(a, b, _CMP_LT_OQ); }
DL_INLINE vmask DL_FN(vle)(vec a, vec b) { return COMPARE(a, b, _CMP_LE_OQ); }
DL_INLINE vmask DL_FN(veq)(vec a, vec b) { return COMPARE(a, b, _CMP_EQ_OQ); }
DL_INLINE vmask DL_FN(ilt)(ivec a, ivec b) { return COMPARE_INTEGERS(a, b, _MM_CMPINT_LT); }
DL_INLINE vmask DL_FN(ieq)(ivec a, ivec b) { return COMPARE_INTEGERS(a, b, _MM_CMPINT_EQ); }
DL_INLINE vec DL_FN(vsel)(vmask mask, vec a, vec b) { return (vec)MM(mask_blend)(mask, b, a); }
#undef COMPARE
#undef COMPARE_INTEGERS
#else
typedef ivec vmask;
DL_INLINE vmask DL_FN(vlt)(vec a, vec b) { return a < b; }
DL_INLINE vmask DL_FN(vle)(vec a, vec b) { return a <= b; }
DL_INLINE vmask DL_FN(veq)(vec a, vec b) { return a == b; }
DL_INLINE vmask DL_FN(ilt)(ivec a, ivec b) { return a < b; }
DL_INLINE vmask DL_FN(ieq)(ivec a, ivec b) { return a == b; }
#if DL_ISA == 256
DL_INLINE vec DL_FN(vsel)(vmask mask, vec a, vec b) { return (vec)MM(blendv)(b, a, (vec)mask); }
#elif DL_VECTORS
DL_INLINE vec DL_FN(vsel)(vmask mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }
#else
DL_INLINE vec DL_FN(vsel)(vmask mask, vec a, vec b) { return mask ? a : b; }
#endif
#endif
#if DL_VECTORS
DL_INLINE ivec DL_FN(isel)(vmask mask, ivec a, ivec b) { return (ivec)DL_FN(vsel)(mask, (vec)a, (vec)b); }
#else
DL_INLINE ivec DL_FN(isel)(vmask mask, ivec a, ivec b) { return mask ? a : b; }
#endif

/* v in the lanes of the mask, else 0. */
#if DL_ISA == 512
DL_INLINE vec DL_FN(vkeep)(vmask mask, vec v) { return (vec)MM(maskz_mov)(mask, v); }
#elif DL_VECTORS
DL_INLINE vec DL_FN(vkeep)(vmask mask, vec v) { return (vec)(mask & (ivec)v); }
#else
DL_INLINE vec DL_FN(vkeep)(vmask mask, vec v) { return mask ? v : 0; }
#endif

/* v as a number of its own: neither fused with what it is used in, nor made or loaded once for each use. */
DL_INLINE vec DL_FN(vheld)(vec v) {
#if DL_ISA
    __asm__("" : "+v"(v));
#elif DL_VECTORS
    __asm__("" : "+m"(v));
#endif
    return v;
}

/* a where it is greater, else b: b too where either is not a number or they are equal. */
#if DL_ISA
DL_INLINE vec DL_FN(vmax)(vec a, vec b) { return (vec)MM(max)(a, b); }
#else
DL_INLINE vec DL_FN(vmax)(vec a, vec b) { return DL_FN(vsel)(DL_FN(vlt)(b, a), a, b); }
#endif

/* Stores a register past the caches, which saves reading what is to be overwritten; p is a multiple of its size (see
   dl_streams), and dl_fence() comes before another thread reads it. */
#if DL_ISA
DL_INLINE void DL_FN(vstream)(real *p, vec v) { MM(stream)(p, v); }
#else
DL_INLINE void DL_FN(vstream)(real *p, vec v) { DL_FN(vstore)(p, v); }
#endif

DL_INLINE vec DL_FN(vrelu)(vec v) { /* NaN stays */
    return DL_FN(vsel)(DL_FN(vle)(v, DL_FN(vsplat)(0)), DL_FN(vsplat)(0), v);
}

/* The first n lanes: none for n <= 0, all from LANES on. */
DL_INLINE vmask DL_FN(vfirst)(long n) {
    n = dl_max(0, dl_min(n, LANES));
#if DL_ISA == 512
    return (vmask)((1u << n) - 1);
#else
    static const ireal lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    ivec lanes;
    memcpy(&lanes, lane, sizeof lanes);
    return lanes < DL_FN(isplat)((ireal)n);
#endif
}

/* The end of a row: the n numbers at p, 0 or `pad` in the lanes beyond; and storing n lanes.  No other memory is touched.
   n may be anything, as with vfirst; whole registers take their own way, so a loop over a row needs no second one. */
#if DL_ISA == 512
DL_INLINE vec DL_FN(load_part)(const real *p, long n) { return (vec)MM(maskz_loadu)(DL_FN(vfirst)(n), p); }
DL_INLINE void DL_FN(store_part)(real *p, vec v, long n) { MM(mask_storeu)(p, DL_FN(vfirst)(n), v); }
#elif DL_ISA == 256
DL_INLINE vec DL_FN(load_part)(const real *p, long n) {
    return (vec)MM(maskload)(p, (__m256i)DL_FN(vfirst)(n));
}
DL_INLINE void DL_FN(store_part)(real *p, vec v, long n) { MM(maskstore)(p, (__m256i)DL_FN(vfirst)(n), v); }
#else
DL_NOINLINE vec DL_FN(load_part)(const real *p, long n) {
    real part[LANES] = {0};
    for (long i = 0; i < n; i++)
        part[i] = p[i];
    return DL_FN(vload)(part);
}
DL_NOINLINE void DL_FN(store_part)(real *p, vec v, long n) {
    real part[LANES];
    DL_FN(vstore)(part, v);
    for (long i = 0; i < n; i++)
        p[i] = part[i];
}
#endif
DL_INLINE vec DL_FN(vload_n)(const real *p, long n) {
    return n >= LANES ? DL_FN(vload)(p) : DL_FN(load_part)(p, n);
}
DL_INLINE vec DL_FN(vload_pad)(const real *p, long n, real pad) {
    return n >= LANES ? DL_FN(vload)(p)
                      : DL_FN(vsel)(DL_FN(vfirst)(n), DL_FN(load_part)(p, n), DL_FN(vsplat)(pad));
}
DL_INLINE void DL_FN(vstore_n)(real *p, vec v, long n) {
    if (n >= LANES)
        DL_FN(vstore)(p, v);
    else
        DL_FN(store_part)(p, v, n);
}

/* The sum and the largest of the lanes, as a binary tree: the upper half comes to the lower one. */
#if DL_VECTORS
#ifdef __clang__
#define UPPER(v, w) __builtin_shufflevector(v, v, LANE_LIST(w))
#else
#define UPPER(v, w) __builtin_shuffle(v, (ivec){LANE_LIST(w)})
#endif
#define LANE(i, w) (((i) + (w)) % LANES)
#if LANES == 2
#define LANE_LIST(w) LANE(0, w), LANE(1, w)
#elif LANES == 4
#define LANE_LIST(w) LANE(0, w), LANE(1, w), LANE(2, w), LANE(3, w)
#elif LANES == 8
#define LANE_LIST(w) \
    LANE(0, w), LANE(1, w), LANE(2, w), LANE(3, w), LANE(4, w), LANE(5, w), LANE(6, w), LANE(7, w)
#else
#define LANE_LIST(w)                                                                                                \
    LANE(0, w), LANE(1, w), LANE(2, w), LANE(3, w), LANE(4, w), LANE(5, w), LANE(6, w), LANE(7, w), LANE(8, w),     \
        LANE(9, w), LANE(10, w), LANE(11, w), LANE(12, w), LANE(13, w), LANE(14, w), LANE(15, w)
#endif
DL_INLINE real DL_FN(vsum)(vec v) {
#if LANES > 8
    v += UPPER(v, 8);
#endif
#if LANES > 4
    v += UPPER(v, 4);
#endif
#if LANES > 2
    v += UPPER(v, 2);
#endif
    return v[0] + v[1];
}
/* NaN in a lane may or may not come through. */
DL_INLINE real DL_FN(vlargest)(vec v) {
#if LANES > 8
    v = DL_FN(vmax)(v, UPPER(v, 8));
#endif
#if LANES > 4
    v = DL_FN(vmax)(v, UPPER(v, 4));
#endif
#if LANES > 2
    v = DL_FN(vmax)(v, UPPER(v, 2));
#endif
    return v[0] > v[1] ? v[0] : v[1];
}
#undef UPPER
#undef LANE
#undef LANE_LIST
#else
DL_INLINE real DL_FN(vsum)(vec v) { return v; }
DL_INLINE real DL_FN(vlargest)(vec v) { return v; }
#endif
#undef MM
