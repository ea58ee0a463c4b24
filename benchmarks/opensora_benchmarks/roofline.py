"""The roofline of this machine, measured: how fast it multiplies matrices and how fast it moves memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .library import Library
from .sampling import Rule, take_turns

SIZE, GPU_SIZE = 1024, 8192  # of square matrices
TRIAD = 96 * 2**20  # bytes of each of the three arrays at least
PROBE = Rule(error=0.02, budget=1.0, least=5, most=30)


@dataclass(frozen=True)
class Roofline:
    """FLOP/s of a matrix product in a dtype, bytes/s of a = b + s·c in float32; by: the libraries that were fastest."""

    dtype: str
    flops: float
    bytes: float
    by: tuple[str, str]

    def best_of(self, other: Roofline) -> Roofline:
        """The higher rates of two probes: other programs can only make one too low."""
        first, second = ((x.flops, x.by[0]) for x in (self, other)), ((x.bytes, x.by[1]) for x in (self, other))
        (flops, gemm_by), (moved, triad_by) = max(first), max(second)
        return Roofline(self.dtype, flops, moved, (gemm_by, triad_by))

    def seconds(self, flops: int, size: int) -> float:
        """The least time that so many FLOPs and bytes need here."""
        return max(flops / self.flops, size / self.bytes)

    def bound(self, flops: int, size: int) -> str:
        """What limits: "compute" or "memory"."""
        return "compute" if flops / self.flops > size / self.bytes else "memory"


def measure_roofline(libraries: Sequence[Library], dtype: str, rule: Rule = PROBE, size: int | None = None) -> Roofline:
    """The best of the libraries, which are all on one device. size: of the matrices."""
    gemm = {x.ops.name: _gemm(x, dtype, size) for x in libraries}
    triad = {x.ops.name: _triad(x, size) for x in libraries}
    flops, gemm_by = _best(gemm, rule)
    moved, triad_by = _best(triad, rule)
    return Roofline(dtype, flops, moved, (gemm_by, triad_by))


def too_low(document: Mapping[str, Any]) -> str | None:
    """A warning if a row of results that products bound is above the roofline, which cannot be."""
    bound = [row for row in document["results"] if row["status"] == "ok" and row["bound"] == "compute"]
    best = max(bound, key=lambda row: row["roofline_share"], default=None)
    if best is None or round(best["roofline_share"], 2) <= 1:
        return None
    where = f"{best['case']} by {best['provider']} reaches {best['roofline_share']:.0%} of it"
    return f"the roofline was measured too low: the machine was busy ({where})"


Probe = tuple[Library, float, Callable[[], Any]]


def _best(probes: dict[str, Probe], rule: Rule) -> tuple[float, str]:
    """Amount of work per second at the least time."""
    samplers = {name: (lambda p=p: p[0].timed(p[2])[0]) for name, p in probes.items()}
    taken = take_turns(samplers, rule)
    if failed := [x for x in taken.values() if isinstance(x, Exception)]:
        raise failed[0]
    rates = {name: probes[name][1] / min(taken[name].samples) for name in taken}  # type: ignore[union-attr]
    name = max(rates, key=rates.__getitem__)
    return rates[name], name


def _gemm(library: Library, dtype: str, size: int | None) -> Probe:
    n = size or (GPU_SIZE if library.device_name else SIZE)
    x = library.put(np.random.default_rng(0).standard_normal((n, n), np.float32).astype(np.dtype(dtype)))
    return library, 2.0 * n**3, lambda: library.ops.matmul(x, x)


def _triad(library: Library, size: int | None) -> Probe:
    """a = b + s·c by Torch, in one pass; a = b + c by others, which has the same traffic."""
    count = max(TRIAD, 2 * library.flush_bytes // 3) // 4 if size is None else size**2
    a, b, c = (library.put(np.full(count, value, np.float32)) for value in (0, 1, 2))
    if library.module.__name__ == "torch":
        return library, 12.0 * count, lambda: library.module.add(b, c, alpha=3.0, out=a)
    return library, 12.0 * count, lambda: library.module.add(b, c, out=a)
