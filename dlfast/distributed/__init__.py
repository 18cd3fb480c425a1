"""Several processes, called ranks, that train one model together: over MPI on CPUs, over NCCL on GPUs.

    comm = dl.distributed.initialize()               # started by: mpiexec -n 4 python train.py
    comm.rank, comm.size
    comm.all_reduce(array)                           # in place: the sum over the ranks

`train.fit(..., distributed=True)` does all of a training; `DataParallel` is for loops of one's own.
"""

import typing as _typing

from .._suggest import missing as _missing
from .communicator import Communicator, Single, Work
from .current import all_reduce, barrier, broadcast, communicator, finalize, initialize, rank, size
from .mpi import Mpi
from .nccl import Nccl
from .parallel import DataParallel

__all__ = [
    "Communicator",
    "DataParallel",
    "Mpi",
    "Nccl",
    "Single",
    "Work",
    "all_reduce",
    "barrier",
    "broadcast",
    "communicator",
    "finalize",
    "initialize",
    "rank",
    "size",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
