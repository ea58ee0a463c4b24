"""Threads that share the rows of a kernel.

Every row is computed whole by one thread, so that results do not depend on how many there are. The threads sleep
between calls: they take no time from BLAS, whose own threads run when these do not. Kernels may be called from many
threads at once, which Numba's own workqueue does not allow.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

GRAIN = 1 << 16  # elements below which another thread costs more than it brings
VARIABLES = ("OPENSORA_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")


def default_threads() -> int:
    """Return the first number set in VARIABLES, else the number of processors this process may use.

    Raises ValueError for a variable that holds no whole number of at least 1.
    """
    for name in VARIABLES:
        if text := os.environ.get(name, "").partition(",")[0].strip():  # OMP's may list one number a nesting level
            if not text.isdecimal() or int(text) < 1:
                raise ValueError(f"{name}={text!r} must be a whole number of at least 1")
            return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_rows(threads: int, kernel: Callable[..., None], rows: int, elements: int, *args: Any) -> None:
    """Call kernel(first, last, *args) on runs of rows that together are 0 to `rows`, on up to `threads` threads.

    elements: how many there are in all rows; few are left to the calling thread.
    """
    parts = max(1, min(threads, rows, elements // GRAIN))
    bounds = [rows * part // parts for part in range(parts + 1)]
    others = [_pool(threads).submit(kernel, bounds[i], bounds[i + 1], *args) for i in range(1, parts)]
    try:
        kernel(0, bounds[1], *args)
    finally:  # no thread may still write when the arrays are gone
        failures = [other.exception() for other in others]
    for failure in failures:
        if failure is not None:
            raise failure


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="opensora-kernels")


if hasattr(os, "register_at_fork"):  # the threads do not follow into a forked process, which needs a pool of its own
    os.register_at_fork(after_in_child=_pool.cache_clear)
