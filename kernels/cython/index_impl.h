/* The winners of windows in registers and in memory: pool.h and winograd.h. */

/* Window positions are as wide as `real` in registers, and uint8 or int32 in the index array. */
#if DL_VECTORS
typedef uint8_t DL_FN(bytes) __attribute__((vector_size(LANES)));
typedef int32_t DL_FN(words) __attribute__((vector_size(LANES * 4)));
#define CONVERT(v, type) __builtin_convertvector(v, type)
#else
typedef uint8_t DL_FN(bytes);
typedef int32_t DL_FN(words);
#define CONVERT(v, type) ((type)(v))
#endif
DL_INLINE void DL_FN(put_index)(void *to, int wide, long at, ivec index) {
    if (wide) {
        const DL_FN(words) words = CONVERT(index, DL_FN(words));
        memcpy((int32_t *)to + at, &words, sizeof words);
    } else {
        const DL_FN(bytes) bytes = CONVERT(index, DL_FN(bytes));
        memcpy((uint8_t *)to + at, &bytes, sizeof bytes);
    }
}
DL_INLINE ivec DL_FN(get_index)(const void *from, int wide, long at) {
    DL_FN(words) words;
    DL_FN(bytes) bytes;
    if (wide) {
        memcpy(&words, (const int32_t *)from + at, sizeof words);
        return CONVERT(words, ivec);
    }
    memcpy(&bytes, (const uint8_t *)from + at, sizeof bytes);
    return CONVERT(bytes, ivec);
}
#undef CONVERT
