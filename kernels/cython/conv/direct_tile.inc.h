/* Lines of the register tiles of brgemm_tile.inc.h, for direct.h: panels of 2 registers of columns, or 1 where no more are
   left, filled up with zeros. */
#define NR (2 * LANES)

/* c (of each pixel) = bias + sums of the runs, of which a panel has `depth` rows.  Registers are stored whole: there must
   be room for them. */
static void DL_FN(direct_line)(const dl_run *runs, long count, long depth, const real *a, const dl_pixel *pixel,
                               long pixels, const real *b, real *c, long columns, const real *bias) {
    for (long k = 0; k < columns; k += NR) {
        const int registers = columns - k > LANES ? 2 : 1;
        const dl_panel p = {.run = runs,
                            .end = runs + count,
                            .b = b + k * depth,
                            .bias = bias ? bias + k : NULL,
                            .last = (registers - 1) * LANES,
                            .first = 1};
        if (registers == 2)
            DL_FN(brgemm_pixels)(2, &p, a, pixel, pixels, c + k, NULL, 0);
        else
            DL_FN(brgemm_pixels)(1, &p, a, pixel, pixels, c + k, NULL, 0);
    }
}
#undef NR
