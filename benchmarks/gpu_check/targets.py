"""What the kernels were built to reach on an H100, and whether the timings say that they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def verdicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every target with the figure that was measured and whether it is met; None where a timing is missing."""
    copied = lambda op: _of(rows, op, "opensora", "of_copy_speed")  # noqa: E731
    spatial, full = "attention_3d spatial", "attention full D=128"
    return [
        _verdict("temporal attention: share of copy speed", copied("attention_3d temporal"), 0.85),
        _verdict("temporal attention: times Torch eager", _speedup(rows, "attention_3d temporal", "torch eager"), 4),
        _verdict("modulate: share of copy speed", copied("modulate"), 0.9),
        _verdict("gated residual: share of copy speed", copied("gated_residual"), 0.9),
        _verdict("spatial attention D=72: TFLOP/s", _of(rows, spatial, "opensora", "tflops"), 300),
        _verdict("spatial attention D=72: times SDPA's flash", _speedup(rows, spatial, "torch flash_attention"), 1),
        _verdict("full attention D=128: times the best of SDPA", _speedup(rows, full, *_sdpa(rows, full)), 1 / 1.5),
    ]


def _verdict(target: str, found: float | None, least: float) -> dict[str, Any]:
    return {"target": target, "at_least": round(least, 3), "found": found, "met": found is not None and found >= least}


def _of(rows: Sequence[Row], op: str, provider: str, what: str) -> float | None:
    found = [row[what] for row in rows if (row["op"], row["provider"]) == (op, provider) and what in row]
    return float(found[0]) if found else None


def _speedup(rows: Sequence[Row], op: str, *rivals: str) -> float | None:
    ours, theirs = _of(rows, op, "opensora", "us"), [_of(rows, op, rival, "us") for rival in rivals]
    times = [us for us in theirs if us is not None]
    return None if ours is None or not times else round(min(times) / ours, 2)


def _sdpa(rows: Sequence[Row], op: str) -> list[str]:
    return [row["provider"] for row in rows if row["op"] == op and row["provider"].endswith("_attention")]
