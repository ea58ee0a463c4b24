"""Checkpoints of a training run: weights, average, moments and the step, which also fixes the data order."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import FileFormatError, InvalidInputError, LimitError
from ..ops import Array, Ops
from ..serialization.folder import load_folder, save_folder
from ..serialization.leftovers import put_back
from ..serialization.state import check_state
from .optimizer import AdamState

KEEP = 2  # checkpoints: one more than needed, lest a damaged disk take the only one
FORMAT, VERSION = "opensora-training-state", 1


class CheckpointWarning(UserWarning):
    """A training run does not go on from where it seems to have been."""


class TrainState(NamedTuple):
    """All that a run needs to go on: finished steps, weights, their average, and the optimizer's moments."""

    step: int
    params: dict[str, Array]
    ema: dict[str, Array]
    moments: AdamState


def save_checkpoint(ops: Ops, folder: Path, state: TrainState, *, keep: int = KEEP) -> Path:
    """Write `folder/step-NNNNNNNN` whole or not at all, then drop checkpoints beyond the newest `keep`.

    Raises LimitError when the disk is full; the checkpoints before this one are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{state.step:08d}"
    tensors = {name: ops.to_numpy(a) for name, a in _flatten(state).items()}
    try:
        save_folder(path, {"format": FORMAT, "version": VERSION, "step": state.step}, tensors)
    except LimitError as error:
        before = [p.name for p in _checkpoints(folder)]
        left = f"the checkpoints before it are untouched, the last is {before[-1]}" if before else "there is no other"
        raise LimitError(f"{error}; {left}") from error
    # A later one is a damaged one that was passed over, or of another run: it does not count as newer.
    for old in [p for p in _checkpoints(folder) if p.name <= path.name][:-keep]:
        shutil.rmtree(old)
    return path


def latest_checkpoint(ops: Ops, folder: Path, like: TrainState) -> TrainState | None:
    """Return the newest checkpoint that is whole, or None; damaged ones are passed over with a CheckpointWarning.

    Raises WeightsError if it belongs to a model of another shape than `like`, InvalidInputError if it was written by a
    version of the library whose checkpoints this one does not know.
    """
    put_back(folder)
    for path in reversed(_checkpoints(folder)):
        try:
            config, tensors = load_folder(path)
        except FileFormatError as error:
            _pass_over(f"the checkpoint {path.name} is damaged and was passed over for an older one: {error}")
            continue
        if config.get("format") != FORMAT or type(config.get("step")) is not int:
            kind = f"its format is {config.get('format')!r:.80}, expected {FORMAT!r}"
            _pass_over(f"the folder {path.name} is no checkpoint of a training run and was passed over: {kind}")
            continue
        _check_version(path, config.get("version", 1))  # the first ones said none
        return _state(ops, config["step"], tensors, like)
    return None


def _state(ops: Ops, step: int, tensors: Mapping[str, Array], like: TrainState) -> TrainState:
    expected = {name: tuple(a.shape) for name, a in _flatten(like).items()}
    check_state(expected, {name: tuple(a.shape) for name, a in tensors.items()})
    own = {name: ops.asarray(np.array(a)) for name, a in tensors.items()}  # not mapped: the file may be removed
    params, ema = ({name: own[prefix + name] for name in like.params} for prefix in ("params/", "ema/"))
    return TrainState(step, params, ema, AdamState(own["mean"], own["square"]))


def _check_version(path: Path, version: object) -> None:
    if version != VERSION:
        raise InvalidInputError(
            f"the checkpoint {path} is of version {version!r:.80}, this library knows {VERSION}: upgrade it, or "
            "move the checkpoint away to go on from an older one"
        )


def _pass_over(message: str) -> None:
    warnings.warn(message, CheckpointWarning, stacklevel=3)


def _flatten(state: TrainState) -> dict[str, Array]:
    groups: dict[str, Mapping[str, Array]] = {"params/": state.params, "ema/": state.ema}
    named = {prefix + name: a for prefix, group in groups.items() for name, a in group.items()}
    return {**named, "mean": state.moments.mean, "square": state.moments.square}


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if re.fullmatch(r"step-\d{8}", p.name) and p.is_dir())
