"""Memory of this machine: what a call takes, how large the caches are."""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
Result = TypeVar("Result")


def peak_of_process(call: Callable[[], Any]) -> int | None:
    """By how many bytes the process grows at most while the call runs; None where only Linux would know."""
    _give_back()
    try:
        CLEAR.write_text("5")  # so that the peak begins anew
    except OSError:
        return None
    before = _field(STATUS, "VmRSS")
    call()
    return max(0, _field(STATUS, "VmHWM") - before)


def peak_so_far() -> int | None:
    """Bytes that the whole process took at most, since `peak_of_process` began or it did; None where not Linux."""
    return _field(STATUS, "VmHWM") if STATUS.exists() else None


def in_fresh_process(function: Callable[..., Result], *args: Any) -> Result:
    """What a function gives in a process of its own, which nothing before it has made larger."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def share(part: int | None, whole: int | None) -> float | None:
    """Bytes as a share of others; None where either is unknown."""
    return None if part is None or whole is None else round(part / whole, 3)


def _give_back() -> None:
    """Let the system have what was freed and kept, for a call that uses it again would seem to take nothing."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):  # glibc has it
        trim(0)


@functools.cache
def last_level_cache() -> int:
    """Bytes of the processor's largest cache; 0 where Linux does not tell."""
    sizes = [path.read_text().strip() for path in CACHES.glob("index*/size")]
    return max((int(size[:-1]) * UNITS[size[-1]] for size in sizes if size[-1:] in UNITS), default=0)


def _field(path: Path, name: str) -> int:
    lines = (line.split() for line in path.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words and words[0] == f"{name}:")
