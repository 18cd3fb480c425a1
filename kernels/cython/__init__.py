"""Ahead-of-time kernels: thin Cython modules over C headers, one module an operation family."""
