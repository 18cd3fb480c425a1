"""How many threads the kernels use: one pool (`kernels/runtime/threads_pool.h`), one number.

The default is `DLFAST_NUM_THREADS`, else the processors this process may run on, capped by its container's CPU quota.
Results have the same bits for any number of threads.
"""

import math
import operator
import os
import warnings
from pathlib import Path

from . import environment
from .runtime import threads as _pool

MAX_THREADS = min(1024, max(64, 4 * (os.cpu_count() or 1)))  # more would only be in each other's way
_CGROUP = Path("/sys/fs/cgroup")


def set_num_threads(n):
    """Use n threads from the next kernel on, the calling thread among them.

    There are at most four for each processor of the machine (64 on a small one, 1024 on any): a larger n is brought
    down to that bound, with a RuntimeWarning. Raises TypeError where n is no integer, ValueError where it is below 1.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: n must be an int, got {type(n).__name__}")
    count = operator.index(n)
    if count < 1:
        raise ValueError(f"set_num_threads: n must be 1 or more, got {count}")
    _pool.set_num_threads(_bounded(count, "set_num_threads"))


def _bounded(count, where):
    """count, or the most that there may be, with a warning."""
    if count <= MAX_THREADS:
        return count
    text = f"{where}: {count} threads are more than this machine can use; taking {MAX_THREADS}, the most there may be"
    warnings.warn(text, RuntimeWarning, stacklevel=3)
    return MAX_THREADS


def get_num_threads():
    """The number of threads that kernels use, the calling thread among them."""
    return _pool.get_num_threads()


def default_num_threads(environ=os.environ, cgroup=_CGROUP):
    """DLFAST_NUM_THREADS if set, else min(processors of this process, CPU quota rounded up)."""
    wish = environ.get("DLFAST_NUM_THREADS", "").strip()
    if wish:
        if not wish.isdecimal() or int(wish) < 1:
            raise ValueError(f"DLFAST_NUM_THREADS must be a whole number, 1 or more, got {wish!r}")
        return _bounded(int(wish), "DLFAST_NUM_THREADS")
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(Path(cgroup))
    return max(1, min(processors, MAX_THREADS, math.ceil(quota) if quota else MAX_THREADS))


def _cpu_quota(cgroup):
    """Processors granted by the Linux control group, v2 (`cpu.max`) or v1 (`cfs_quota_us`); None where unlimited."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except ValueError:  # "max"
        return None


_pool.set_spin_us(environment.spin_us())
set_num_threads(default_num_threads())
