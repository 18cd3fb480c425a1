"""CUDA: the same operations on an NVIDIA GPU, in the CUDA dialect of Numba.

A kernel is a Python function (`dialect.kernel`) over raw pointers and sizes. One source serves three compilers: those of
GPUs (`compiler.py`), and Numba's own for the CPU, where the threads of a block are fibers (`host.py`), so that every
kernel runs and is checked on machines without a GPU. `device.py` has the arrays, the memory and the launches.

Nothing of CUDA is imported before it is asked for.
"""
