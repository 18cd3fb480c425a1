"""Every kernel there is: those of all files of the CUDA backend."""

import pkgutil
from importlib import import_module

from dlfast.kernels import cuda as backend
from dlfast.kernels.cuda import dialect

NO_KERNELS = ("compiler", "successor", "vectors")  # they import what compiles

for _module in pkgutil.iter_modules(backend.__path__):
    if _module.name not in NO_KERNELS:
        import_module(f"{backend.__name__}.{_module.name}")

KERNELS = [each for each in dialect.KERNELS if each.function.__module__.startswith(f"{backend.__name__}.")]
