"""The log of a run: what a step says about itself, one line of JSON a step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from ..serialization.atomic import atomic_file, naming_a_full_disk

LOG = "log.jsonl"


@dataclass(frozen=True)
class Progress:
    """What one finished step says about itself."""

    step: int  # finished steps of the whole run
    total: int
    stage: str
    loss: float
    seconds: float  # of this step
    samples: int
    learning_rate: float
    validation: dict[str, float] | None = None  # after some steps: the held-out loss, "mean" and by timestep


def append(folder: Path, record: Mapping[str, Any]) -> None:
    """Add the line of one step; LimitError when the disk is full."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOG
    with naming_a_full_disk(path), path.open("a") as log:
        log.write(json.dumps(record) + "\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """What the log says of each step, in order; InvalidInputError if there is no log."""
    try:
        lines = (folder / LOG).read_text().splitlines()
    except OSError as error:
        raise InvalidInputError(f"{folder} holds no training run: {LOG} cannot be read ({error.strerror})") from error
    return [json.loads(line) for line in lines if _step_of(line)]


def shorten(folder: Path, step: int) -> None:
    """Take out what the log says of steps beyond `step`, which are done again."""
    path = folder / LOG
    if not path.exists():
        return
    lines = path.read_text().splitlines()
    kept = [line for line in lines if 0 < _step_of(line) <= step]
    if len(kept) < len(lines):
        with atomic_file(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept))


def _step_of(line: str) -> int:
    """Step of a line of the log, 0 for one that was cut off when the run was killed."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 0
