"""Tables {weight name: [length, ..., dtype]} of published checkpoints: whether the model here has just those weights.

Only names and shapes are compared; nothing of the model's size is allocated.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import WeightsError
from ..releases.architectures import recognise
from ..releases.checkpoint import Checkpoint
from ..releases.loading import fit_published
from .golden import GoldenSet
from .report import Check


def state_dict_keys(golden: GoldenSet) -> list[Check]:
    """One row: a weightless model of the size that the shapes imply has the names and shapes of the table."""
    tensors = {name: np.broadcast_to(np.float32(0), entry[:-1]) for name, entry in golden.table.items()}
    checkpoint = Checkpoint(golden.name, tensors, {})
    row = Check(golden.name, golden.kind, golden.version, "", "keys", "pass")
    try:
        architecture = recognise(checkpoint.shapes, checkpoint.source)
    except WeightsError as error:
        return [replace(row, verdict="unknown kind", note=str(error))]
    try:
        fit_published(architecture, checkpoint)
    except WeightsError as error:
        return [replace(row, verdict="fail", note=str(error))]
    return [replace(row, note=f"{architecture.name} of {architecture.release}")]
