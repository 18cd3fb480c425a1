"""CUDA: the same operations on an NVIDIA GPU, in the CUDA dialect of Numba.

A kernel is a Python function (`dialect.kernel`) over raw pointers and sizes. One source serves two compilers: that of
GPUs (`compiler.py`), and Numba's own for the CPU, where the threads of a block are fibers (`host.py`), so that every
kernel runs and is checked on machines without a GPU. `device.py` has the memory and the launches, `array.py` and the
`array_*.py` beside it make arrays there what NumPy's are. Families and their functions are those of the other backends,
on `array.Array`. No kernel has run on a GPU yet.

Nothing of CUDA is imported before it is asked for.
"""
