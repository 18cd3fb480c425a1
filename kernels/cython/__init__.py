"""Ahead-of-time kernels: thin Cython modules over C headers, one module an operation family."""

from .. import threads as threads_setting  # noqa: F401  sets the number of threads before the first kernel runs
