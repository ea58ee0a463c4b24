"""A run's curves for TensorBoard, written by the small package tensorboardX."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import MissingDependencyError
from .log import Progress


class TensorBoard:
    """Writes what every step says into a folder for `tensorboard --logdir`; a callback of the `Trainer`, to be closed.

    first_step: steps that are finished already; what an earlier run wrote beyond them is hidden.
    Raises MissingDependencyError, naming the extra, without tensorboardX.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            remedy = "pip install 'opensora-core[tensorboard]'; log.jsonl says the same without it"
            raise MissingDependencyError(f"curves need tensorboardX: {remedy}", name="tensorboardX") from error
        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)

    def __call__(self, progress: Progress) -> None:
        """Write one step."""
        values = {
            "train/loss": progress.loss,
            "train/learning_rate": progress.learning_rate,
            "train/samples_per_second": progress.samples / max(progress.seconds, 1e-9),
            **{f"validation/{name}": value for name, value in (progress.validation or {}).items()},
        }
        for name, value in values.items():
            self._writer.add_scalar(name, value, progress.step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
