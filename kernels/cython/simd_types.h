/* Registers: load, store, splat, select.  Comparing two `vec` gives an `ivec` mask for `vsel`. */
#if DL_VECTORS
typedef real vec __attribute__((vector_size(DL_BYTES)));
typedef ireal ivec __attribute__((vector_size(DL_BYTES)));
typedef real uvec __attribute__((vector_size(DL_BYTES), aligned(sizeof(real)), may_alias));
DL_INLINE vec DL_FN(vload)(const real *p) { return (vec) * (const uvec *)p; }
DL_INLINE void DL_FN(vstore)(real *p, vec v) { *(uvec *)p = (uvec)v; }
DL_INLINE vec DL_FN(vsplat)(real a) { return a - (vec){0}; } /* a - 0 keeps -0.0, which a + 0 would not */
DL_INLINE ivec DL_FN(isplat)(ireal a) { return a + (ivec){0}; }
#if DL_X86 && DL_BYTES == 32 && DL_DOUBLE /* one instruction, which GCC does not find */
DL_INLINE vec DL_FN(vsel)(ivec mask, vec a, vec b) { return __builtin_ia32_blendvpd256(b, a, (vec)mask); }
#elif DL_X86 && DL_BYTES == 32
DL_INLINE vec DL_FN(vsel)(ivec mask, vec a, vec b) { return __builtin_ia32_blendvps256(b, a, (vec)mask); }
#else
DL_INLINE vec DL_FN(vsel)(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }
#endif
DL_INLINE ivec DL_FN(isel)(ivec mask, ivec a, ivec b) { return (ivec)DL_FN(vsel)(mask, (vec)a, (vec)b); }
DL_INLINE real DL_FN(vlane)(vec v, int lane) { return v[lane]; }
#else
typedef real vec;
typedef ireal ivec;
DL_INLINE vec DL_FN(vload)(const real *p) { return *p; }
DL_INLINE void DL_FN(vstore)(real *p, vec v) { *p = v; }
DL_INLINE vec DL_FN(vsplat)(real a) { return a; }
DL_INLINE ivec DL_FN(isplat)(ireal a) { return a; }
DL_INLINE vec DL_FN(vsel)(ivec mask, vec a, vec b) { return mask ? a : b; }
DL_INLINE ivec DL_FN(isel)(ivec mask, ivec a, ivec b) { return mask ? a : b; }
DL_INLINE real DL_FN(vlane)(vec v, int lane) { return (void)lane, v; }
#endif

/* a where it is greater, else b: b too where either is not a number or they are equal. */
DL_INLINE vec DL_FN(vmax)(vec a, vec b) {
#if !DL_X86
    return DL_FN(vsel)(a > b, a, b);
#elif DL_BYTES == 16 && DL_DOUBLE
    __asm__("maxpd %1, %0" : "+x"(a) : "x"(b));
    return a;
#elif DL_BYTES == 16
    __asm__("maxps %1, %0" : "+x"(a) : "x"(b));
    return a;
#elif DL_DOUBLE
    __asm__("vmaxpd %1, %0, %0" : "+x"(a) : "x"(b));
    return a;
#else
    __asm__("vmaxps %1, %0, %0" : "+x"(a) : "x"(b));
    return a;
#endif
}

/* Stores a register past the caches, which saves reading what is to be overwritten; p is a multiple of its size (see
   dl_streams), and dl_fence() comes before another thread reads it. */
DL_INLINE void DL_FN(vstream)(real *p, vec v) {
#if !DL_X86
    DL_FN(vstore)(p, v);
#elif DL_BYTES == 16
    __asm__("movntps %1, %0" : "=m"(*(uvec *)p) : "x"(v));
#else
    __asm__("vmovntps %1, %0" : "=m"(*(uvec *)p) : "x"(v));
#endif
}

/* The first n elements, 0 or `pad` beyond; and storing no more than n. */
DL_NOINLINE vec DL_FN(vload_n)(const real *p, long n) {
#if DL_X86 && DL_BYTES == 32 && !DL_DOUBLE
    static const int32_t masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return __builtin_ia32_maskloadps256((const vec *)p, (ivec)DL_FN(vload)((const real *)(masks + 8 - dl_max(n, 0))));
#else
    real part[LANES] = {0};
    for (long i = 0; i < n; i++)
        part[i] = p[i];
    return DL_FN(vload)(part);
#endif
}
/* The register at p: whole, or its first `count` lanes and 0. */
DL_INLINE vec DL_FN(lanes)(const real *p, long count) {
    return count >= LANES ? DL_FN(vload)(p) : DL_FN(vload_n)(p, count);
}
DL_NOINLINE vec DL_FN(vload_pad)(const real *p, long n, real pad) {
    real part[LANES];
    for (long i = 0; i < LANES; i++)
        part[i] = i < n ? p[i] : pad;
    return DL_FN(vload)(part);
}
DL_NOINLINE void DL_FN(vstore_n)(real *p, vec v, long n) {
    real part[LANES];
    DL_FN(vstore)(part, v);
    for (long i = 0; i < n; i++)
        p[i] = part[i];
}
/* Lanes are added as a binary tree. */
DL_NOINLINE real DL_FN(vsum)(vec v) {
    real part[LANES];
    DL_FN(vstore)(part, v);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++)
            part[i] += part[i + width];
    return part[0];
}
DL_INLINE vec DL_FN(vrelu)(vec v) { return DL_FN(vsel)(v <= DL_FN(vsplat)(0), DL_FN(vsplat)(0), v); } /* NaN stays */
