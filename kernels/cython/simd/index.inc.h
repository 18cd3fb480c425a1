/* The winners of windows in registers and in memory: pool.h, direct.h and winograd.h. */

/* Window positions are as wide as `real` in registers, and uint8 or int32 in the index array.  Between bytes and words
   the way is by half words: GCC takes a wider step byte by byte. */
#if DL_VECTORS
typedef uint8_t DL_FN(bytes) __attribute__((vector_size(LANES)));
typedef uint16_t DL_FN(halves) __attribute__((vector_size(LANES * 2)));
typedef int32_t DL_FN(words) __attribute__((vector_size(LANES * 4)));
#define CONVERT(v, type) __builtin_convertvector(v, type)
#else
typedef uint8_t DL_FN(bytes);
typedef uint16_t DL_FN(halves);
typedef int32_t DL_FN(words);
#define CONVERT(v, type) ((type)(v))
#endif
DL_INLINE void DL_FN(put_index)(void *to, int wide, long at, ivec index) {
    const DL_FN(words) words = CONVERT(index, DL_FN(words));
    if (wide) {
        memcpy((int32_t *)to + at, &words, sizeof words);
    } else {
#if DL_ISA == 512 && DL_DOUBLE /* one instruction */
        _mm_storel_epi64((__m128i *)((uint8_t *)to + at), _mm512_cvtepi64_epi8((__m512i)index));
        return;
#elif DL_ISA == 512
        _mm_storeu_si128((__m128i *)((uint8_t *)to + at), _mm512_cvtepi32_epi8((__m512i)index));
        return;
#endif
        const DL_FN(bytes) bytes = CONVERT(CONVERT(words, DL_FN(halves)), DL_FN(bytes));
        memcpy((uint8_t *)to + at, &bytes, sizeof bytes);
    }
}
DL_INLINE ivec DL_FN(get_index)(const void *from, int wide, long at) {
    DL_FN(words) words;
    DL_FN(bytes) bytes;
    if (wide) {
        memcpy(&words, (const int32_t *)from + at, sizeof words);
    } else {
#if DL_ISA == 512 && DL_DOUBLE /* one instruction, which GCC does not find */
        return (ivec)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)((const uint8_t *)from + at)));
#elif DL_ISA == 512
        return (ivec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)((const uint8_t *)from + at)));
#elif DL_ISA == 256 && !DL_DOUBLE
        return (ivec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)((const uint8_t *)from + at)));
#endif
        memcpy(&bytes, (const uint8_t *)from + at, sizeof bytes);
        words = CONVERT(CONVERT(bytes, DL_FN(halves)), DL_FN(words));
    }
    return CONVERT(words, ivec);
}
#undef CONVERT

/* The same for the first `count` lanes; the others read as 0. */
DL_INLINE void DL_FN(store_index)(void *to, int wide, long at, ivec index, long count) {
    const long item = wide ? sizeof(int32_t) : sizeof(uint8_t);
    int32_t part[LANES];
    if (count >= LANES) {
        DL_FN(put_index)(to, wide, at, index);
        return;
    }
    DL_FN(put_index)(part, wide, 0, index);
    memcpy((char *)to + at * item, part, count * item);
}
DL_INLINE ivec DL_FN(load_index)(const void *from, int wide, long at, long count) {
    const long item = wide ? sizeof(int32_t) : sizeof(uint8_t);
    if (count >= LANES) return DL_FN(get_index)(from, wide, at);
    int32_t part[LANES] = {0};
    if (count > 0) memcpy(part, (const char *)from + at * item, count * item);
    return DL_FN(get_index)(part, wide, 0);
}

/* The larger of `best` and z, cell `number` of a window, with its number; of equals the first, and the first NaN. */
DL_INLINE void DL_FN(keep_larger)(vec z, ireal number, vec *best, ivec *winner) {
    const vmask wins = ~DL_FN(vle)(z, *best) & DL_FN(veq)(*best, *best);
    *best = DL_FN(vsel)(wins, z, *best);
    *winner = DL_FN(isel)(wins, DL_FN(isplat)(number), *winner);
}
