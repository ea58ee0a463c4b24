"""Checkpoints of a model that is trained step by step: weights, float32 master weights, moments and step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..module import rebuild, state_dict
from ..ops import Ops
from ..serialization.folder import load_folder, save_folder
from ..serialization.state import check_state
from ..training.optimizer import AdamState
from . import storage
from .components import Components
from .learning import InPlaceOptimizer

FORMAT, VERSION = "opensora-checkpoint", 1


def save(folder: Path, ops: Ops, parts: Components, optimizer: InPlaceOptimizer | None) -> None:
    """Write the folder whole or not at all."""
    named = {f"model/{name}": a for name, a in state_dict(parts).items()}
    steps = 0
    if optimizer is not None and optimizer.moments is not None:
        steps = optimizer.steps
        named |= {f"master/{name}": a for name, a in optimizer.master.items()}
        named |= {f"moments/{name}": a for name, a in optimizer.moments._asdict().items()}
    header = {"format": FORMAT, "version": VERSION, "steps": steps, "config": parts.config.to_dict()}
    save_folder(folder, header, {name: ops.to_numpy(a) for name, a in named.items()})


def load(folder: Path, ops: Ops, parts: Components) -> tuple[Components, InPlaceOptimizer]:
    """Return parts and optimizer of a checkpoint for a model of the same configuration."""
    header, tensors = load_folder(folder)
    _check_header(folder, header, parts)
    groups: dict[str, dict[str, Any]] = {"model": {}, "master": {}, "moments": {}}
    for name, a in tensors.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = ops.asarray(np.array(a))  # not mapped: the file may be removed
    own = state_dict(parts)
    check_state(storage.shapes(own), storage.shapes(groups["model"]))
    model = {name: ops.astype(groups["model"][name], a.dtype) for name, a in own.items()}
    restored, optimizer = rebuild(parts, model), InPlaceOptimizer(ops)
    if header["steps"]:
        optimizer.restore(restored, header["steps"], groups["master"], AdamState(**groups["moments"]))
    return restored, optimizer


def _check_header(folder: Path, header: dict[str, Any], parts: Components) -> None:
    found = (header.get("format"), header.get("version"))
    if found != (FORMAT, VERSION):
        raise InvalidInputError(
            f"{folder} has format and version {found}, expected {(FORMAT, VERSION)}: load a saved model with "
            "from_pretrained, and go on with a training run by opensora train --resume"
        )
    own, theirs = parts.config.to_dict(), header["config"]
    differing = [name for name in sorted(own.keys() | theirs.keys()) if own.get(name) != theirs.get(name)]
    if differing:
        said = ", ".join(f"{name}={theirs.get(name)!r:.40} there, {own.get(name)!r:.40} here" for name in differing)
        raise InvalidInputError(f"the checkpoint {folder} is of another configuration: {said}")
