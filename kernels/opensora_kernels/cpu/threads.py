"""Threads that share the rows of a kernel.

Every row is computed whole by one thread, so that results do not depend on how many there are. The threads sleep
between calls: they take no time from BLAS, whose own threads run when these do not. Kernels may be called from many
threads at once, which Numba's own workqueue does not allow.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

GRAIN = 1 << 16  # elements below which another thread costs more than it brings
RUNS = 4  # of rows a thread, if all are equally fast
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

    elements: how many there are in all rows; few are left to the calling thread. Each thread takes the next run when it
    is done with one: where other programs, or threads of BLAS that still wait for work, hold a processor, the others do
    the rest.
    """
    workers = max(1, min(threads, rows, elements // GRAIN))
    if workers == 1:
        kernel(0, rows, *args)
        return
    count = min(rows, workers * RUNS, elements // GRAIN)
    runs = deque((rows * i // count, rows * (i + 1) // count) for i in range(count))
    others = [_pool(threads).submit(_work, kernel, runs, args) for _ in range(workers - 1)]
    try:
        _work(kernel, runs, args)
    finally:  # no thread may still write when the arrays are gone
        runs.clear()
        failures = [other.exception() for other in others if not other.cancel()]
    for failure in failures:
        if failure is not None:
            raise failure


def _work(kernel: Callable[..., None], runs: deque[tuple[int, int]], args: tuple[Any, ...]) -> None:
    while True:
        try:
            first, last = runs.popleft()
        except IndexError:
            return
        kernel(first, last, *args)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="opensora-kernels")


if hasattr(os, "register_at_fork"):  # the threads do not follow into a forked process, which needs a pool of its own
    os.register_at_fork(after_in_child=_pool.cache_clear)
