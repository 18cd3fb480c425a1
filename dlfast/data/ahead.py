"""What threads make ahead of who uses it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any


def made_ahead(make: Callable, jobs: Iterable, threads: int, ahead: int) -> Iterator[Any]:
    """make(job) in the order of the jobs, of which so many are being made, or wait, while the caller has one."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="dlfast-loader")
    try:
        rest = (pool.submit(make, job) for job in jobs)
        waiting: deque[Future] = deque(islice(rest, ahead))
        while waiting:
            waiting.extend(islice(rest, 1))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
