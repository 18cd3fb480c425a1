/* The interface of the matrix product (gemm.h) and of the first step of a backward pass (rows.h).  They are compiled
   once, in products.pyx; other modules call them through two pointers. */
#ifndef DLFAST_PRODUCTS_H
#define DLFAST_PRODUCTS_H
#include "runtime/threads.h"

/* C = act(A B + bias), or act(C + A B) when accumulating: see gemm.h. */
typedef struct {
    int dtype; /* 0 float32, 1 float64 */
    long m, n, k;
    const void *a;
    long ars, acs; /* row and column stride of A, in elements */
    const void *b;
    long brs, bcs;
    const void *bias; /* (n) or NULL; not used when accumulating */
    void *c;
    long ldc;
    int activation, accumulate;
} dl_gemm;

/* dz = dy act'(y), dbias = sum over rows of dz: see rows.h. */
typedef struct {
    int dtype, activation;
    long rows, cols, chunk; /* chunk, partial: filled in by dl_rows_run */
    const void *dy, *y;
    void *dz, *dbias; /* either may be NULL */
    char *partial;
} dl_rows;

typedef int (*dl_gemm_fn)(const dl_gemm *);
typedef int (*dl_rows_fn)(dl_rows *);
#define DL_GEMM_NAME "dlfast.kernels.cython.products._gemm"
#define DL_ROWS_NAME "dlfast.kernels.cython.products._rows"

#ifndef DLFAST_PRODUCTS_SERVER
static dl_gemm_fn dl_gemm_run;
static dl_rows_fn dl_rows_run;
static int dl_connect_products(PyObject *products_module) {
    dl_gemm_run = (dl_gemm_fn)dl_capsule_pointer(products_module, "_gemm", DL_GEMM_NAME);
    dl_rows_run = (dl_rows_fn)dl_capsule_pointer(products_module, "_rows", DL_ROWS_NAME);
    return dl_gemm_run && dl_rows_run ? 0 : -1;
}
#endif
#endif
