"""What the process of a generation takes besides its arrays: recorded of each backend, on Linux with glibc.

`python -m opensora_benchmarks.plan` tells how far whole processes are from what is foretold of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ops import HALF

MB = 10**6


@dataclass(frozen=True)
class Process:
    """Memory besides arrays, in bytes.

    bare: Python, the libraries and their code, once every kind of op has run. kept: what libraries take inside their
    ops, and freed memory in pieces that stays with the C library, as a share of the activations; in half precision
    kept_half. most: of that, for large arrays go back to the system at once.
    """

    bare: int
    kept: float
    kept_half: float
    most: int


PROCESSES = {"numpy": Process(73 * MB, 0.35, 0.35, 64 * MB), "torch": Process(293 * MB, 1.0, 1.4, 200 * MB)}


def besides_arrays(backend: str, dtype: str, activations: int) -> int:
    """Bytes of a process beside weights and activations; of a backend that is not recorded those of Torch, as more."""
    process = PROCESSES.get(backend, PROCESSES["torch"])
    kept = process.kept_half if dtype in HALF else process.kept
    return process.bare + min(process.most, int(kept * activations))
