"""Checkpoints of a training run: weights, average, moments and the step, which also fixes the data order."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import FileFormatError, InvalidInputError, LimitError, WeightsError
from ..ops import Array, Ops
from ..serialization.folder import load_folder, save_folder
from ..serialization.leftovers import put_back
from ..serialization.manifest import UnknownVersionError
from ..serialization.state import check_state
from .continuing import REMEDY, changes, described
from .optimizer import AdamState
from .recipe import Recipe

KEEP = 2  # checkpoints: one more than needed, lest a damaged disk take the only one
MOVE_AWAY = "move the checkpoint away to go on from an older one"
Shapes = dict[str, tuple[int, ...]]
FORMAT, VERSION = "opensora-training-state", 1


class CheckpointWarning(UserWarning):
    """A training run does not go on from where it seems to have been."""


class TrainState(NamedTuple):
    """All that a run needs to go on: finished steps, weights, their average, and the optimizer's moments."""

    step: int
    params: dict[str, Array]
    ema: dict[str, Array]
    moments: AdamState


def save_checkpoint(
    ops: Ops, folder: Path, state: TrainState, *, recipe: Recipe | None = None, keep: int = KEEP
) -> Path:
    """Write `folder/step-NNNNNNNN` whole or not at all, then drop checkpoints beyond the newest `keep`.

    recipe: what made the state, for whoever goes on with another one to be told what differs.
    Raises LimitError when the disk is full; the checkpoints before this one are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{state.step:08d}"
    tensors = {name: ops.to_numpy(a) for name, a in _flatten(state).items()}
    header = {"format": FORMAT, "version": VERSION, "step": state.step}
    try:
        save_folder(path, header if recipe is None else {**header, "recipe": described(recipe)}, tensors)
    except LimitError as error:
        before = [p.name for p in _checkpoints(folder)]
        left = f"the checkpoints before it are untouched, the last is {before[-1]}" if before else "there is no other"
        raise LimitError(f"{error}; {left}") from error
    # A later one is a damaged one that was passed over, or of another run: it does not count as newer.
    for old in [p for p in _checkpoints(folder) if p.name <= path.name][:-keep]:
        shutil.rmtree(old)
    return path


def latest_checkpoint(ops: Ops, folder: Path, like: TrainState, recipe: Recipe | None = None) -> TrainState | None:
    """Return the newest checkpoint that is whole, or None; damaged ones are passed over with a CheckpointWarning.

    recipe: what the run is to go on with; what differs from the checkpoint's own is told in a CheckpointWarning, too.
    Raises WeightsError if the checkpoint belongs to a model of another shape than `like`, InvalidInputError if the
    recipe cannot go on from it, or if this library does not know its version.
    """
    put_back(folder)
    for path in reversed(_checkpoints(folder)):
        try:
            config, tensors = load_folder(path)
        except UnknownVersionError as error:
            raise InvalidInputError(f"{error} Or {MOVE_AWAY}") from error
        except FileFormatError as error:
            _pass_over(f"the checkpoint {path.name} is damaged and was passed over for an older one: {error}")
            continue
        if config.get("format") != FORMAT or type(config.get("step")) is not int:
            kind = f"its format is {config.get('format')!r:.80}, expected {FORMAT!r}"
            _pass_over(f"the folder {path.name} is no checkpoint of a training run and was passed over: {kind}")
            continue
        _check_version(path, config.get("version", 1))  # the first ones said none
        _compare(path, config.get("recipe"), recipe, _shapes(_flatten(like)), _shapes(tensors))
        return _state(ops, config["step"], tensors, like)
    return None


def _state(ops: Ops, step: int, tensors: Mapping[str, Array], like: TrainState) -> TrainState:
    own = {name: ops.asarray(np.array(a)) for name, a in tensors.items()}  # not mapped: the file may be removed
    params, ema = ({name: own[prefix + name] for name in like.params} for prefix in ("params/", "ema/"))
    return TrainState(step, params, ema, AdamState(own["mean"], own["square"]))


def _compare(path: Path, before: Any, recipe: Recipe | None, expected: Shapes, found: Shapes) -> None:
    """Say what the recipe changes; raise if the run cannot go on with it."""
    differing = changes(before, recipe) if isinstance(before, dict) and recipe is not None else []
    other = f"{path.name} was made by another recipe"
    if fixed := "; ".join(str(change) for change in differing if change.is_fixed):
        raise InvalidInputError(f"{other}: {fixed}. {REMEDY}")
    try:
        check_state(expected, found)
    except WeightsError as error:
        shape = "; ".join(str(change) for change in differing if change.key.startswith("denoiser."))
        raise WeightsError(f"{other}: {shape or error}. {REMEDY}") from error
    if differing:
        message = f"the run goes on from {path.name} with another recipe: {'; '.join(map(str, differing))}"
        warnings.warn(message, CheckpointWarning, stacklevel=3)


def _shapes(arrays: Mapping[str, Array]) -> Shapes:
    return {name: tuple(a.shape) for name, a in arrays.items()}


def _check_version(path: Path, version: object) -> None:
    if version != VERSION:
        raise InvalidInputError(
            f"the checkpoint {path} is of version {version!r:.80}, this library knows {VERSION}: "
            f"upgrade it, or {MOVE_AWAY}"
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
