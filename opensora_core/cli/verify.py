"""verify: a backend against numbers recorded from the official implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from .model_options import ComputeOptions
from .options import Argument, Option
from .screen import Screen


def verify(
    screen: Screen,
    folder: Annotated[Path, Argument(metavar="GOLDEN_DIR", help="Folder of golden sets, searched to its depth.")],
    compute: ComputeOptions,
    failures_only: Annotated[bool, Option("--failures-only", help="List only what did not pass.")] = False,
) -> int:
    """Compare a backend with golden numbers of the official Open-Sora code. Exits with 1 unless all pass.

    Example: opensora verify tests/golden --backend torch --dtype float32
    """
    from ..verify import verify as run

    ops = compute.ops(screen, compute.dtype)
    report = run(folder, ops.name if compute.backend == "auto" else compute.backend, ops.device, ops.dtype)
    screen.result(report.to_dict(), report.table(failures_only=failures_only))
    return 0 if report.ok else 1
