/* The jobs of winograd_both.h. */
#define NR (2 * LANES)

/* dx of `count` tiles, whole images, from dV. */
DL_NOINLINE void DL_FN(winograd_pixels)(const dl_tiles *g, const dl_order *order, long first, long count, const real *v,
                                        long plane, long ld) {
    for (long t = 0; t < count; t++) {
        const DL_FN(place) at = DL_FN(find_tile)(g, first + t, 6, 0, NULL);
        const int above = (first + t) / g->grid_w % g->grid_h > 0, beside = (first + t) % g->grid_w > 0;
        const real *from = v + order->place[t] * ld;
        DL_BY_KIND(dl_tile_kind(g, first + t), DL_FN(data_pixels), g->c, &at, above, beside, from, plane)
    }
}

/* sums (n) += the sum of dz over all pixels of `count` tiles: the points 1 and 1 are the sum over a tile. */
DL_NOINLINE void DL_FN(winograd_bias)(const real *z, long plane, long ld, long count, real *sums, long n) {
    for (long k = 0; k < n; k += LANES) {
        vec sum = DL_FN(vsplat)(0);
        for (long t = 0; t < count; t++)
            sum += DL_FN(vload)(z + 7 * plane + t * ld + k);
        DL_FN(vstore_n)(sums + k, DL_FN(vload_n)(sums + k, n - k) + sum, n - k);
    }
}

/* Whether dz of `count` tiles is finite, by the same sums. */
DL_NOINLINE void DL_FN(winograd_check)(const real *z, long plane, long ld, long count, long n, int *strange) {
    vec check = DL_FN(vsplat)(0);
    for (long t = 0; t < count; t++)
        for (long k = 0; k < n; k += LANES)
            check += DL_FN(vload)(z + 7 * plane + t * ld + k) * 0;
    DL_FN(note_strange)(check, strange);
}

/* dz (N, P, Q, K) from the gradients of its windows: 0 but for the winners. */
static void DL_FN(winograd_spread)(const dl_tiles *g, void *pixels) {
    const long p = g->p / 2, q = g->q / 2;
    real *dz = (real *)pixels;
    memset(dz, 0, sizeof(real) * g->n * g->p * g->q * g->c);
    for (long window = 0; window < g->n * p * q; window++)
        for (long c = 0, at = window * g->c; c < g->c; c++, at++) {
            const long h = window / q % p * 2 + g->index[at] / 2, w = window % q * 2 + g->index[at] % 2;
            vec gain = DL_FN(vsplat)(((const real *)g->image)[at]);
            if (g->y) gain = DL_FN(vactivation_gradient)(gain, DL_FN(vsplat)(((const real *)g->y)[at]), g->activation);
            dz[((window / (p * q) * g->p + h) * g->q + w) * g->c + c] = DL_FN(vlane)(gain, 0);
        }
}

/* Job: dx and the partial dg and dbias of one chunk of tiles.  dV takes the place of V, point by point. */
static void DL_FN(winograd_both_job)(void *ctx, long job, long worker) {
    const dl_winograd_both *p = (const dl_winograd_both *)ctx;
    const long kernels = p->dz.c, channels = p->x.c, rows = dl_round_up(kernels, DL_MR), room = p->block + DL_MR;
    const long z_ld = dl_round_up(rows, LANES), v_ld = p->kernels.npad;
    const long zero = 6 * dl_max(channels, kernels) + LANES; /* read as whole registers, past the last channel */
    const long v_plane = dl_winograd_plane(room * v_ld, sizeof(real)),
               z_plane = dl_winograd_plane(room * z_ld, sizeof(real)),
               u_plane = dl_winograd_plane(rows * v_ld, sizeof(real)), bytes = dl_order_bytes(p->block);
    dl_order *order = (dl_order *)dl_scratch(
        DL_SCRATCH_JOB, bytes + sizeof(real) * (36 * (v_plane + z_plane + u_plane) + zero));
    if (!order) return;
    real *v = (real *)((char *)order + bytes), *z = v + 36 * v_plane, *du = z + 36 * z_plane;
    real *zeros = du + 36 * u_plane;
    real *dbias = p->dbias ? (real *)p->dbias + job * kernels : NULL;
    memset(zeros, 0, sizeof(real) * zero);
    if (dbias) memset(dbias, 0, sizeof(real) * kernels);
    for (long first = job * p->chunk; first < dl_min((job + 1) * p->chunk, p->tiles); first += p->block) {
        const long count = dl_min(p->block, p->tiles - first);
        dl_order_tiles(&p->x, first, count, order);
        if (p->sum.partial) DL_FN(winograd_data)(&p->x, order, first, count, 0, channels, zeros, v, v_plane, v_ld);
        DL_FN(winograd_gradient)(&p->dz, order, first, count, 0, kernels, zeros, z, z_plane, z_ld);
        DL_FN(winograd_check)(z, z_plane, z_ld, count, kernels, p->strange);
        if (dbias) DL_FN(winograd_bias)(z, z_plane, z_ld, count, dbias, kernels);
        for (long point = 0; point < 36; point++) {
            real *zp = z + point * z_plane, *vp = v + point * v_plane;
            const real *u = (const real *)p->kernels.u + point * p->kernels.plane;
            if (p->sum.partial)
                DL_FN(winograd_products)(order, point, zp, z_ld, vp, v_ld, rows, du + point * u_plane,
                                         first == job * p->chunk);
            for (long j = 0; j < v_ld && p->dx.image; j += NR)
                for (long i = dl_first_place(order, point); i < dl_last_place(order, point); i += DL_MR)
                    DL_FN(tile_rows)(kernels, zp + i * z_ld, z_ld, u + j * kernels, NR, vp + i * v_ld + j, v_ld, NULL,
                                     0, 0);
        }
        if (p->dx.image) DL_FN(winograd_pixels)(&p->dx, order, first, count, v, v_plane, v_ld);
    }
    if (p->sum.partial)
        DL_FN(winograd_kernels)(du, u_plane, v_ld, (real *)p->sum.partial + job * kernels * 9 * channels, kernels,
                                channels, 9 * channels, 1, channels, 4, p->strange);
    (void)worker;
}
#undef NR
