"""The loss curve of a run: recorded as means over windows of steps, or compared with a recorded one.

A mean stands beside the spread of the losses in its window, most of which is the luck of the batches. A run of the same
recipe learns from the same batches, so that honest differences (another backend, other threads, how bfloat16 is
rounded) move its means by a small part of that spread; another learning rate or another loss moves them by much more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import number, table, whole
from ..errors import FileFormatError, InvalidInputError, OpenSoraError
from ..serialization.atomic import atomic_file
from . import log

FORMAT, VERSION = "opensora-loss-curve", 1
STEPS = 100  # of a window
TOLERANCE = 0.5  # spreads that the mean of a window may lie away from the recorded one


@dataclass(frozen=True)
class Window:
    """Steps first..last of one stage: the mean of their losses, and the standard deviation."""

    stage: str
    first: int
    last: int
    mean: float
    spread: float

    def __post_init__(self) -> None:
        whole("last", self.last, whole("first", self.first, 1))
        number("mean", self.mean, 0)
        number("spread", self.spread, 0, above=True)


@dataclass(frozen=True)
class Difference:
    """A recorded window, the mean that a run has there, and how many spreads it lies above (below: negative)."""

    recorded: Window
    mean: float

    @property
    def spreads(self) -> float:
        """The distance in spreads of the recorded window."""
        return (self.mean - self.recorded.mean) / self.recorded.spread

    def __str__(self) -> str:
        window = self.recorded
        where = f"{window.stage}, steps {window.first}-{window.last}"
        return f"{where}: {self.mean:.5f}, recorded {window.mean:.5f}, {self.spreads:+.2f} spreads"


def curve(run: Path, steps: int = STEPS) -> list[Window]:
    """The curve of a run's log in windows of so many steps; what is left over at the end of a stage is left out.

    Raises InvalidInputError for a folder without a log, and for a log without a whole window.
    """
    whole("steps", steps, 2)
    windows = []
    for stage, group in groupby(log.read(run), lambda line: str(line["stage"])):
        lines = list(group)
        for start in range(0, len(lines) - steps + 1, steps):
            part = lines[start : start + steps]
            losses = [line["loss"] for line in part]
            mean, spread = float(np.mean(losses)), float(np.std(losses))
            windows.append(Window(stage, part[0]["step"], part[-1]["step"], mean, spread))
    if not windows:
        raise InvalidInputError(f"{run}: no stage of the log has {steps} steps, which a window takes")
    return windows


def save_curve(windows: Sequence[Window], path: Path) -> None:
    """Write a curve as JSON, a line for each window, whole or not at all."""
    rows = ",\n".join("  " + json.dumps(asdict(window)) for window in windows)
    with atomic_file(path) as temporary:
        temporary.write_text(f'{{"format": "{FORMAT}", "version": {VERSION}, "windows": [\n{rows}\n]}}\n')


def load_curve(path: Path) -> list[Window]:
    """Read what `save_curve` wrote; InvalidInputError if it cannot be read, FileFormatError if it is anything else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"the curve {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise FileFormatError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
        raise FileFormatError(f"{path} is no loss curve: expected format {FORMAT!r}, version {VERSION}")
    try:
        return [_window(values) for values in document["windows"]]
    except (InvalidInputError, KeyError, TypeError) as error:
        raise FileFormatError(f"{path} is a damaged loss curve: {error}") from error


def _window(values: Mapping[str, Any]) -> Window:
    return Window(**table("window", values, [f.name for f in fields(Window)]))


def compare(run: Path, recorded: Sequence[Window]) -> list[Difference]:
    """How far a run lies from a recorded curve in each window that it has finished.

    Raises InvalidInputError where a step belongs to another stage, and for a run that has not finished any window.
    """
    lines = {line["step"]: line for line in log.read(run)}
    differences = []
    for window in recorded:
        steps = range(window.first, window.last + 1)
        if any(step not in lines for step in steps):
            continue
        if other := next((s for s in steps if lines[s]["stage"] != window.stage), None):
            own = lines[other]["stage"]
            raise InvalidInputError(
                f"{run} is a run of another recipe: step {other} is of stage {own!r}, recorded {window.stage!r}"
            )
        differences.append(Difference(window, float(np.mean([lines[step]["loss"] for step in steps]))))
    if not differences:
        raise InvalidInputError(f"{run} has not finished any window of the curve yet: {len(lines)} steps are done")
    return differences


def main(arguments: Sequence[str] | None = None) -> int:
    """Record a run's curve, or say window by window how far it lies from a recorded one; 1 where it departs."""
    parser = argparse.ArgumentParser(description="Record the loss curve of a run, or compare it with a recorded one.")
    parser.add_argument("run", type=Path, help="folder of a run of `opensora train`")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--record", type=Path, metavar="FILE", help="write the curve, as JSON")
    task.add_argument("--against", type=Path, metavar="FILE", help="a recorded curve to compare with")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of a recorded window (default {STEPS})")
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, help=f"spreads that a mean may lie away (default {TOLERANCE})"
    )
    options = parser.parse_args(arguments)
    try:
        if options.record is not None:
            return _record(options.run, options.record, options.steps)
        return _report(compare(options.run, load_curve(options.against)), options.tolerance)
    except OpenSoraError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _record(run: Path, path: Path, steps: int) -> int:
    windows = curve(run, steps)
    save_curve(windows, path)
    print(f"{path}: {len(windows)} windows of {steps} steps, up to step {windows[-1].last}")
    return 0


def _report(differences: Sequence[Difference], tolerance: float) -> int:
    departing = [d for d in differences if not abs(d.spreads) <= tolerance]  # NaN departs, too
    for difference in differences:
        print(f"{difference}{', departs' if difference in departing else ''}")
    farthest = max(differences, key=lambda d: abs(d.spreads))
    kept = len(differences) - len(departing)
    print(
        f"{kept} of {len(differences)} windows lie within {tolerance:g} spreads, the farthest {farthest.spreads:+.2f}"
    )
    return 1 if departing else 0


if __name__ == "__main__":
    raise SystemExit(main())
