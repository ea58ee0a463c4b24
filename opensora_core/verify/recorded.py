"""Recorded runs of the official samplers, for the samplers that make videos here: their noise, and what a model saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops import Array, Ops
from ..releases.sampler import Sampler
from ..releases.task import Task, Text
from ..schedulers.stepping import Noise
from .golden import bring

Args = Mapping[str, Any]
Numbers = NDArray[Any]
Inputs = Mapping[str, Numbers]


@dataclass(frozen=True, kw_only=True)
class RecordedTask(Task):
    """A task whose noise was drawn by the official code: the start z [B, C, T, h, w], and draws [steps, B, ...]."""

    z: Numbers
    draws: Mapping[str, Numbers] = field(default_factory=dict)

    def start(self, ops: Ops) -> Array:
        """The recorded start."""
        return bring(ops, self.z)

    def noise(self, ops: Ops, what: str) -> Noise:
        """The recorded draws of one use."""
        return lambda i: bring(ops, self.draws[what][i])


@dataclass(frozen=True)
class RecordedMask:
    """References that the recorded noise holds already, and their mask [B, T]."""

    mask: NDArray[np.floating]

    def place(self, ops: Ops, z: Array, loop: int) -> tuple[Array, NDArray[np.floating]]:
        """The noise as it is, and the mask."""
        return z, self.mask


def recorded_mask(inputs: Inputs) -> RecordedMask | None:
    """The mask of given frames among the inputs, if there is one."""
    return RecordedMask(inputs["mask"]) if "mask" in inputs else None


def recorded_draws(inputs: Inputs) -> dict[str, Numbers]:
    """The noise of given frames among the inputs, if there is any."""
    return {"frames": inputs["noise"]} if "noise" in inputs else {}


class Watched:
    """A denoiser that notes what samplers give it, and what it answers."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.seen: dict[str, list[Numbers]] = {"z": [], "time": [], "x_mask": [], "output": []}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def at_size(self, size: tuple[int, int, int]) -> Watched:
        """Itself: recorded latents have the size of the model."""
        return self

    def denoise(self, ops: Ops, z: Array, time: Array, *args: Any, x_mask: Array | None = None, **named: Any) -> Array:
        """As STDiT does."""
        rest = named if x_mask is None else {**named, "x_mask": x_mask}
        return self._noted(ops, z, time, x_mask, self._model.denoise(ops, z, time, *args, **rest))

    def __call__(self, ops: Ops, x: Array, time: Array, *args: Any) -> Array:
        """As MMDiT does."""
        return self._noted(ops, x, time, None, self._model(ops, x, time, *args))

    def _noted(self, ops: Ops, z: Array, time: Array, x_mask: Array | None, output: Array) -> Array:
        for name, value in {"z": z, "time": time, "x_mask": x_mask, "output": output}.items():
            if value is not None:
                self.seen[name].append(ops.to_numpy(value))
        return output


def run_sampler(ops: Ops, sampler: Sampler, model: Any, task: RecordedTask, text: Text, given: Any = None) -> Replay:
    """Sample as a generation does, from recorded noise."""
    watched, z = Watched(model), None
    for step in sampler(ops, watched, task, text, given):
        z = step.latents
    return Replay(z, watched.seen)


@dataclass(frozen=True)
class Replay:
    """The latents at the end, on the backend, and all that the denoiser was given and answered."""

    latents: Any
    seen: Mapping[str, list[Numbers]]

    def first_rows(self, name: str, rows: int) -> Numbers:
        """What was noted of every step, [steps, rows, ...]: of a guided batch those with the prompt."""
        return np.stack(self.seen[name])[:, :rows]
