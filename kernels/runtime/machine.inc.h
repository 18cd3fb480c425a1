/* The jobs of machine.h. */
enum { DL_FN(fma_lanes) = LANES };

/* DL_FMA_STEPS times s = s a + (1 - a), in DL_FMA_CHAINS registers that do not wait for one another.  Every s tends to
   1, so neither infinity nor denormal numbers come up. */
static void DL_FN(fma_job)(void *ctx, long job, long worker) {
    const dl_fma *m = (const dl_fma *)ctx;
    const vec a = DL_FN(vsplat)((real)m->a), b = DL_FN(vsplat)((real)(1 - m->a));
    vec sums[DL_FMA_CHAINS];
    for (int i = 0; i < DL_FMA_CHAINS; i++)
        sums[i] = DL_FN(vsplat)((real)i);
    for (long step = 0; step < DL_FMA_STEPS; step++)
        for (int i = 0; i < DL_FMA_CHAINS; i++)
            sums[i] = sums[i] * a + b;
    for (int i = 1; i < DL_FMA_CHAINS; i++)
        sums[0] += sums[i];
    m->results[job] = DL_FN(vlane)(sums[0], 0);
    (void)worker;
}
