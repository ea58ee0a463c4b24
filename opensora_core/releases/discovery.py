"""What is in a folder of published weights: which models, of which release, in which file or folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, WeightsError
from ..serialization.inventory import inventory
from .architectures import Architecture, recognise
from .checkpoint import Checkpoint, models_in, open_checkpoint
from .loading import fit_published
from .unpickling import PICKLES

DEPTH = 3  # folders below the one that was named: text encoders lie in ORGANISATION/MODEL


@dataclass(frozen=True)
class Part:
    """One published model on disk, known by its names and shapes; none of its weights is read."""

    path: Path
    architecture: Architecture
    checkpoint: Checkpoint

    @property
    def file(self) -> Path:
        """Its weights or their index: the same for the same model, by whatever path it was found."""
        return (models_in(self.path)[0] if self.path.is_dir() else self.path).resolve()

    @property
    def configuration(self) -> Any:
        """Of the model; reads names and shapes only."""
        return self.architecture.configure(self.checkpoint.shapes, self.checkpoint.config, self.checkpoint.source)

    def describe(self) -> dict[str, Any]:
        """Release, parameters, bytes, dtype and configuration, as JSON values."""
        config, _, weights = fit_published(self.architecture, self.checkpoint)
        return {
            "path": str(self.path),
            "part": self.architecture.part,
            "architecture": self.architecture.name,
            "release": self.architecture.release,
            **inventory(weights.values()),
            "config": asdict(config),
        }


def find_parts(path: str | Path) -> list[Part]:
    """The published models in a file or a folder and its folders, in the order of their paths.

    Files of weights that are of no known model are passed over. Raises InvalidInputError where nothing is found, and
    what `open_checkpoint` raises for a damaged file.
    """
    path = Path(path)
    if not path.is_dir():
        return [_part(path, open_checkpoint(path))]
    found = list(_search(path, DEPTH))
    if not found:
        raise InvalidInputError(
            f"{path} holds no published model that is known here (as .safetensors, in it or its folders){_old(path)}"
        )
    return found


def _old(folder: Path) -> str:
    """Of old pickles in a folder, how they become safetensors."""
    found = [file for file in sorted(folder.rglob("*")) if file.suffix in PICKLES]
    if not found:
        return ""
    names = ", ".join(file.name for file in found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    return f", only the old pickles {names}: turn them into safetensors with `opensora convert {found[0].parent} NEW`"


def _search(folder: Path, depth: int) -> Iterator[Part]:
    """The folder itself where it holds one model, or else each of its models; then the folders below."""
    models = models_in(folder)
    for candidate in [folder] if len(models) == 1 else models:
        try:
            yield _part(candidate, open_checkpoint(candidate))
        except WeightsError:
            continue
    for below in sorted(folder.iterdir()) if depth else []:
        if below.is_dir():
            yield from _search(below, depth - 1)


def _part(path: Path, checkpoint: Checkpoint) -> Part:
    return Part(path, recognise(checkpoint.shapes, checkpoint.source), checkpoint)
