"""What the trainer keeps in a run's folder: checkpoints and the log, which always end at the same step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..serialization.leftovers import remove_leftovers
from . import log
from .checkpoints import TrainState, latest_checkpoint, save_checkpoint
from .datasets.files import TrainingFiles
from .learner import Learner
from .log import Progress


class RunFolder:
    """Checkpoints, the newest `keep` of them, and `log.jsonl` in a folder; without a folder nothing is kept.

    Of a team all read the folder, and the first process alone writes to it.
    """

    def __init__(self, folder: Path | None, learner: Learner, keep: int) -> None:
        self.read_from = folder
        self.write_to = None if learner.team.rank else folder
        self._learner, self._keep = learner, keep

    def tidy(self) -> None:
        """Remove what saves that were killed have left."""
        if self.write_to is not None:
            remove_leftovers(self.write_to)

    def save(self, state: TrainState) -> Path | None:
        """Write a checkpoint; returns its path where one was written. Called by all."""
        if self.read_from is None:
            return None
        whole = self._learner.whole(state)
        if self.write_to is None:
            return None
        of = self._learner
        return save_checkpoint(of.ops, self.write_to, whole, recipe=of.recipe, keep=self._keep)

    def newest(self, like: TrainState) -> TrainState | None:
        """The state of the newest whole checkpoint, if there is one, as `latest_checkpoint` has it. Called by all."""
        if self.read_from is None:
            return None
        of = self._learner
        found = latest_checkpoint(of.ops, self.read_from, of.whole(like), of.recipe)
        return None if found is None else of.share(found)

    def log(self, progress: Progress, files: TrainingFiles | None) -> None:
        """Add a line on a step, and on the files that were skipped since the last one."""
        if self.write_to is None:
            return
        told = {name: value for name, value in vars(progress).items() if value is not None}
        record: dict[str, Any] = {**told, "time": time.time()}
        if files is not None and (skipped := files.skipped.news()):
            record["skipped"] = skipped
        log.append(self.write_to, record)

    def shorten_log(self, step: int) -> None:
        """Take out what the log says of steps beyond `step`, which are done again."""
        if self.write_to is not None:
            log.shorten(self.write_to, step)
