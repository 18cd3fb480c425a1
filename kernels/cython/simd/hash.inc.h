/* Random words, a register at a time: see hash.h. */
/* word[k] = hash(seed, i + k) for k < DL_DROP. */
DL_INLINE void DL_FN(hash_words)(dl_keys keys, uint32_t i, uint32_t word[DL_DROP]) {
#if DL_VECTORS
    typedef uint32_t words __attribute__((vector_size(DL_BYTES)));
    words index = {0};
    for (int k = 0; k < DL_BYTES / 4; k++)
        index[k] = (uint32_t)k + i;
    for (int k = 0; k < DL_DROP; k += DL_BYTES / 4, index += DL_BYTES / 4) {
        words x = index + keys.a;
        x = (x ^ (x >> 17)) * DL_HASH_1;
        x = x ^ keys.b;
        x = (x ^ (x >> 11)) * DL_HASH_2;
        x = (x ^ (x >> 15)) * DL_HASH_3;
        x = x ^ (x >> 14);
        memcpy(word + k, &x, sizeof x);
    }
#else
    for (int k = 0; k < DL_DROP; k++)
        word[k] = dl_hash(keys, i + (uint32_t)k);
#endif
}
