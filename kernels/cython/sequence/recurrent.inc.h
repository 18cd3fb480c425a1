/* The jobs of recurrent.h: the gate arithmetic of rows of the batch, in registers along the hidden units. */
#define V(name) DL_FN(name)
#define EACH_UNIT for (long j = 0; j < hidden; j += LANES)
#define AT(p) V(vload_n)((p) + j, hidden - j)
#define PUT(p, value) V(vstore_n)((p) + j, value, hidden - j)
#define ROW(array, width) ((real *)m->array + row * (width))
#define ONE V(vsplat)(1)
#define EACH_ROW for (long row = job * m->rows; row < dl_min((job + 1) * m->rows, m->batch); row++)

/* gates holds the sums before activation and gets i, f, g, o; out = h', out2 = c', extra = tanh(c'). */
static void V(lstm_forward_job)(void *ctx, long job, long worker) {
    const dl_cell *m = (const dl_cell *)ctx;
    const long hidden = m->hidden;
    EACH_ROW {
        real *gi = ROW(gates, 4 * hidden), *gf = gi + hidden, *gg = gf + hidden, *go = gg + hidden;
        EACH_UNIT {
            const vec i = V(vsigmoid)(AT(gi)), f = V(vsigmoid)(AT(gf)), g = V(vtanh)(AT(gg)), o = V(vsigmoid)(AT(go));
            const vec c = f * AT(ROW(c, hidden)) + i * g, t = V(vtanh)(c);
            PUT(gi, i);
            PUT(gf, f);
            PUT(gg, g);
            PUT(go, o);
            PUT(ROW(out2, hidden), c);
            PUT(ROW(extra, hidden), t);
            PUT(ROW(out, hidden), o * t);
        }
    }
    (void)worker;
}

/* dy = dh', dy2 = dc', extra = tanh(c'); dz (4 hidden) and out = dc. */
static void V(lstm_backward_job)(void *ctx, long job, long worker) {
    const dl_cell *m = (const dl_cell *)ctx;
    const long hidden = m->hidden;
    EACH_ROW {
        const real *gi = ROW(gates, 4 * hidden), *gf = gi + hidden, *gg = gf + hidden, *go = gg + hidden;
        real *zi = ROW(dz, 4 * hidden), *zf = zi + hidden, *zg = zf + hidden, *zo = zg + hidden;
        EACH_UNIT {
            const vec i = AT(gi), f = AT(gf), g = AT(gg), o = AT(go), t = AT(ROW(extra, hidden)),
                      dh = AT(ROW(dy, hidden));
            const vec dc = AT(ROW(dy2, hidden)) + dh * o * (ONE - t * t);
            PUT(zi, dc * g * (i * (ONE - i)));
            PUT(zf, dc * AT(ROW(c, hidden)) * (f * (ONE - f)));
            PUT(zg, dc * i * (ONE - g * g));
            PUT(zo, dh * t * (o * (ONE - o)));
            PUT(ROW(out, hidden), dc * f);
        }
    }
    (void)worker;
}

/* gates = W_i x + b_i, dz = W_h h + b_h before activation; gates gets r, z, n; out = h', extra = hn. */
static void V(gru_forward_job)(void *ctx, long job, long worker) {
    const dl_cell *m = (const dl_cell *)ctx;
    const long hidden = m->hidden;
    EACH_ROW {
        real *gr = ROW(gates, 3 * hidden), *gz = gr + hidden, *gn = gz + hidden;
        const real *hr = ROW(dz, 3 * hidden), *hz = hr + hidden, *hn = hz + hidden;
        EACH_UNIT {
            const vec r = V(vsigmoid)(AT(gr) + AT(hr)), z = V(vsigmoid)(AT(gz) + AT(hz)), inner = AT(hn);
            const vec t = V(vtanh)(AT(gn) + r * inner);
            PUT(gr, r);
            PUT(gz, z);
            PUT(gn, t);
            PUT(ROW(extra, hidden), inner);
            PUT(ROW(out, hidden), (ONE - z) * t + z * AT(ROW(c, hidden)));
        }
    }
    (void)worker;
}

/* dz = gradient of the input side, dz2 of the hidden side (3 hidden each); out = dh' z, the part of dh past the gates.
 */
static void V(gru_backward_job)(void *ctx, long job, long worker) {
    const dl_cell *m = (const dl_cell *)ctx;
    const long hidden = m->hidden;
    EACH_ROW {
        const real *gr = ROW(gates, 3 * hidden), *gz = gr + hidden, *gn = gz + hidden;
        real *zr = ROW(dz, 3 * hidden), *hr = ROW(dz2, 3 * hidden);
        EACH_UNIT {
            const vec r = AT(gr), z = AT(gz), t = AT(gn), dy = AT(ROW(dy, hidden));
            const vec dn = dy * (ONE - z) * (ONE - t * t);
            const vec dzz = dy * (AT(ROW(c, hidden)) - t) * (z * (ONE - z));
            const vec dzr = dn * AT(ROW(extra, hidden)) * (r * (ONE - r));
            PUT(zr, dzr);
            PUT(hr, dzr);
            PUT(zr + hidden, dzz);
            PUT(hr + hidden, dzz);
            PUT(zr + 2 * hidden, dn);
            PUT(hr + 2 * hidden, dn * r);
            PUT(ROW(out, hidden), dy * z);
        }
    }
    (void)worker;
}
#undef V
#undef EACH_UNIT
#undef AT
#undef PUT
#undef ROW
#undef ONE
#undef EACH_ROW
