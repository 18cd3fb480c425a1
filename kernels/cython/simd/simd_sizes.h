/* One table of what differs between instruction sets and dtypes, for the copies (as constants) and for what chooses
   among them (dl_sizes_of).

   rows:        of the register tile of a product, two registers wide: rows x 2 accumulators, two registers of B and one
                of A fit in 16 registers (32 with AVX-512)
   high, low:   rows of a tile one register wide, and of one for the rows that are left
   wide:        rows of a tile three registers wide
   kc, long_kc: of k in a block; a panel of B (kc x 2 registers) is to stay in L1.  long_kc is for matrix products, whose
                panel may take most of it: fewer tiles begin and end
   mc:          rows of A (mc x kc) that stay in L2 beside that: 300 of 512 KB, 400 of the 1 MB that goes with AVX-512

   They decide in which order sums are formed, so they are constants rather than read from the machine, as the sizes of
   caches.h are: the bits of a result are those of the instruction set. */
#ifndef DLFAST_SIMD_SIZES_H
#define DLFAST_SIMD_SIZES_H

#define DL_EACH_SIZE(X)                            \
    /* copy     lanes rows high low wide  kc long_kc mc */ \
    X(f32_base,    4,  4,   8,   6,    3, 256, 400, 192)    \
    X(f32_avx2,    8,  6,  14,  10,    4, 256, 400, 192)    \
    X(f32_avx512, 16, 12,  16,  12,    9, 256, 256, 192)    \
    X(f64_base,    2,  4,   8,   6,    3, 256, 400,  96)    \
    X(f64_avx2,    4,  6,  14,  10,    4, 256, 400,  96)    \
    X(f64_avx512,  8, 12,  16,  12,    9, 256, 256, 192)

#define DL_SIZE_CONSTANTS(copy, lanes, rows, high, low, wide, kc, long_kc, mc) \
    enum {                                                               \
        dl_rows_##copy = rows,                                           \
        dl_high_##copy = high,                                           \
        dl_low_##copy = low,                                             \
        dl_wide_##copy = wide,                                           \
        dl_kc_##copy = long_kc,                                          \
        dl_mc_##copy = mc                                                \
    };
DL_EACH_SIZE(DL_SIZE_CONSTANTS)
/* Those of the copy that is being compiled. */
#define DL_MR DL_CAT(dl_rows, DL_SUFFIX)
#define DL_HIGH1 DL_CAT(dl_high, DL_SUFFIX)
#define DL_LOW1 DL_CAT(dl_low, DL_SUFFIX)
#define DL_WIDE DL_CAT(dl_wide, DL_SUFFIX)
#define DL_MOST_KC DL_CAT(dl_kc, DL_SUFFIX)
#define DL_MC DL_CAT(dl_mc, DL_SUFFIX)

typedef struct {
    long lanes, rows, kc, long_kc, mc;
} dl_sizes;
#define DL_SIZE_ROW(copy, lanes, rows, high, low, wide, kc, long_kc, mc) {DL_VECTORS ? lanes : 1, rows, kc, long_kc, mc},
static const dl_sizes dl_sizes_of[2 * DL_ISAS] = {DL_EACH_SIZE(DL_SIZE_ROW)};
DL_UNUSED static const dl_sizes *dl_sizes_for(int dtype) { return dl_sizes_of + dtype * DL_ISAS + dl_isa; }

DL_UNUSED static long dl_lanes(int dtype) { return dl_sizes_for(dtype)->lanes; }
DL_UNUSED static long dl_tile_rows(int dtype) { return dl_sizes_for(dtype)->rows; }
DL_UNUSED static long dl_tile_cols(int dtype) { return 2 * dl_sizes_for(dtype)->lanes; }
DL_UNUSED static size_t dl_item(int dtype) { return dtype ? 8 : 4; }
#endif
