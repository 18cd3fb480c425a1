/* Of simd.h: registers as rows of a matrix, and its transpose. */

#if DL_VECTORS
/* Transposes LANES x LANES in log2(LANES) steps; step d exchanges blocks of d lanes between rows i and i + d.  For
   float32 the steps 1 and 2 are put together from what processors have one instruction for: rows interleaved, and pairs
   of lanes exchanged, in groups of 4 lanes. */
#define LOW(l, d) ((l) & (d) ? LANES + (l) - (d) : (l))
#define HIGH(l, d) ((l) & (d) ? LANES + (l) : (l) + (d))
#define WEAVE(l, d) (((l) & 1 ? LANES : 0) + ((l) & ~3) + ((l) & 3) / 2 + (d))
#define LIST2(F, l, d) F(l, d), F(l + 1, d)
#define LIST4(F, l, d) LIST2(F, l, d), LIST2(F, l + 2, d)
#define LIST8(F, l, d) LIST4(F, l, d), LIST4(F, l + 4, d)
#define LIST16(F, l, d) LIST8(F, l, d), LIST8(F, l + 8, d)
#if LANES == 2
#define LIST(F, d) LIST2(F, 0, d)
#elif LANES == 4
#define LIST(F, d) LIST4(F, 0, d)
#elif LANES == 8
#define LIST(F, d) LIST8(F, 0, d)
#else
#define LIST(F, d) LIST16(F, 0, d)
#endif
#ifdef __clang__
#define SHUFFLE(a, b, F, d) __builtin_shufflevector(a, b, LIST(F, d))
#else
#define SHUFFLE(a, b, F, d) __builtin_shuffle(a, b, (ivec){LIST(F, d)})
#endif
#define EXCHANGE(d)                                          \
    DL_UNROLL for (int i = 0; i < LANES; i++) if (!(i & (d))) { \
        vec upper = row[i], lower = row[i + (d)];            \
        row[i] = SHUFFLE(upper, lower, LOW, d);              \
        row[i + (d)] = SHUFFLE(upper, lower, HIGH, d);       \
    }
DL_INLINE void DL_FN(transpose)(vec row[LANES]) {
#if DL_DOUBLE
    EXCHANGE(1)
#if LANES > 2
    EXCHANGE(2)
#endif
#else
    DL_UNROLL for (int i = 0; i < LANES; i += 4) {
        const vec a = SHUFFLE(row[i], row[i + 1], WEAVE, 0), b = SHUFFLE(row[i], row[i + 1], WEAVE, 2);
        const vec c = SHUFFLE(row[i + 2], row[i + 3], WEAVE, 0), d = SHUFFLE(row[i + 2], row[i + 3], WEAVE, 2);
        row[i] = SHUFFLE(a, c, LOW, 2), row[i + 1] = SHUFFLE(a, c, HIGH, 2);
        row[i + 2] = SHUFFLE(b, d, LOW, 2), row[i + 3] = SHUFFLE(b, d, HIGH, 2);
    }
#endif
#if LANES > 4
    EXCHANGE(4)
#endif
#if LANES > 8
    EXCHANGE(8)
#endif
}
#undef LOW
#undef HIGH
#undef WEAVE
#undef LIST2
#undef LIST4
#undef LIST8
#undef LIST16
#undef LIST
#undef SHUFFLE
#undef EXCHANGE
#endif
