"""Checkpoints of a training run: weights, average, moments and the step, which also fixes the data order."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import FileFormatError
from ..ops import Array, Ops
from ..serialization.folder import load_folder, save_folder
from ..serialization.state import check_state
from .optimizer import AdamState

KEPT = 2  # older checkpoints are removed once this many newer ones are whole
FORMAT = "opensora-training-state"


class CheckpointWarning(UserWarning):
    """A training run does not go on from where it seems to have been."""


class TrainState(NamedTuple):
    """All that a run needs to go on: finished steps, weights, their average, and the optimizer's moments."""

    step: int
    params: dict[str, Array]
    ema: dict[str, Array]
    moments: AdamState


def save_checkpoint(ops: Ops, folder: Path, state: TrainState) -> Path:
    """Write `folder/step-NNNNNNNN` whole or not at all, then drop checkpoints beyond the newest few."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{state.step:08d}"
    tensors = {name: ops.to_numpy(a) for name, a in _flatten(state).items()}
    save_folder(path, {"format": FORMAT, "step": state.step}, tensors)
    # A later one is a damaged one that was passed over, or of another run: it does not count as newer.
    for old in [p for p in _checkpoints(folder) if p.name <= path.name][:-KEPT]:
        shutil.rmtree(old)
    return path


def latest_checkpoint(ops: Ops, folder: Path, like: TrainState) -> TrainState | None:
    """Return the newest checkpoint that is whole, or None; damaged ones are passed over with a CheckpointWarning.

    Raises WeightsError if it belongs to a model of another shape than `like`.
    """
    for path in reversed(_checkpoints(folder)):
        try:
            config, tensors = load_folder(path)
            if config.get("format") != FORMAT or type(config.get("step")) is not int:
                raise FileFormatError(f"{path} holds no training state of this library")
        except FileFormatError as error:
            message = f"the checkpoint {path.name} is damaged and was passed over for an older one: {error}"
            warnings.warn(message, CheckpointWarning, stacklevel=2)
            continue
        expected = {name: tuple(a.shape) for name, a in _flatten(like).items()}
        check_state(expected, {name: tuple(a.shape) for name, a in tensors.items()})
        own = {name: ops.asarray(np.array(a)) for name, a in tensors.items()}  # not mapped: the file may be removed
        params, ema = ({name: own[prefix + name] for name in like.params} for prefix in ("params/", "ema/"))
        moments = AdamState(own["mean"], own["square"])
        return TrainState(config["step"], params, ema, moments)
    return None


def _flatten(state: TrainState) -> dict[str, Array]:
    groups: dict[str, Mapping[str, Array]] = {"params/": state.params, "ema/": state.ema}
    named = {prefix + name: a for prefix, group in groups.items() for name, a in group.items()}
    return {**named, "mean": state.moments.mean, "square": state.moments.square}


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if re.fullmatch(r"step-\d{8}", p.name) and p.is_dir())
