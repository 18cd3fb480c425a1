"""The throughput path: kernels compiled by Numba for this very CPU, kept on disk and compiled once."""
