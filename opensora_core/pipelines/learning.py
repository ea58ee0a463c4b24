"""Training a loaded model in place, one step at a time; whole runs are the Trainer's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dit.embedders import IMAGE_FPS
from ..errors import InvalidInputError, NonFiniteError
from ..module import rebuild, state_dict
from ..ops import Array, Ops
from ..random import generator
from ..schedulers.timesteps import training_timesteps
from ..training.objective import training_loss
from ..training.optimizer import AdamState, AdamW, is_finite
from .components import Components
from .generation import encode_prompt

FROZEN = ("rope.freqs",)


class Learner:
    """The optimizer's state of one model, and float32 weights where the model's own are of half precision."""

    def __init__(self, ops: Ops, optimizer: AdamW | None = None, caption_dropout: float = 0.1) -> None:
        self._ops, self._optimizer, self._dropout = ops, optimizer or AdamW(), caption_dropout
        self._moments: AdamState | None = None
        self._steps = 0
        self._master: dict[str, Array] = {}
        self._rounded: dict[str, Array] = {}  # what was made of the master weights: theirs as long as it is in use

    def step(
        self, parts: Components, latents: Any, captions: list[str], *, seed: int, learning_rate: float
    ) -> tuple[Components, float]:
        """One step on latents [B, C, T, h, w]; returns the parts with a new denoiser, and the loss before the step.

        Raises NonFiniteError, leaving all as it was, when the loss or a gradient is no finite number.
        """
        ops, config = self._ops, parts.config
        batch = self._batch(parts, np.asarray(latents, np.float32), captions, seed)
        rows, columns = config.codec.block[1:]
        size = {"height": float(np.shape(latents)[3] * rows), "width": float(np.shape(latents)[4] * columns)}
        own = state_dict(parts.denoiser)
        frozen = {name: own.pop(name) for name in FROZEN}
        dtypes = {name: a.dtype for name, a in own.items()}

        def rounded(ops: Ops, params: Mapping[str, Array]) -> dict[str, Array]:
            return {name: ops.astype(a, dtypes[name]) for name, a in params.items()}

        def objective(ops: Ops, params: Mapping[str, Array]) -> Array:
            denoiser = rebuild(parts.denoiser, {**frozen, **rounded(ops, params)})
            return training_loss(ops, denoiser, batch, prediction=config.prediction, **size)

        params = self._master_of(own)
        loss, grads = ops.value_and_grad(objective, params)
        moments = self._moments or self._optimizer.init(ops, params)
        params, moments = self._optimizer.update(ops, params, grads, moments, self._steps + 1, learning_rate)
        value = float(ops.to_numpy(loss))
        if not np.isfinite(value) or not is_finite(ops, moments):
            raise NonFiniteError(f"the training loss is {value} or a gradient of it is not finite; nothing was changed")
        self._steps, self._moments, self._master, self._rounded = self._steps + 1, moments, params, rounded(ops, params)
        return replace(parts, denoiser=rebuild(parts.denoiser, {**frozen, **self._rounded})), value

    def _master_of(self, own: Mapping[str, Array]) -> dict[str, Array]:
        """Weights to update, float32 or better: an update smaller than a half-precision step would be lost."""
        if self._rounded.keys() == own.keys() and all(self._rounded[name] is a for name, a in own.items()):
            return self._master
        return {name: self._ops.widen(a) for name, a in own.items()}

    def _batch(
        self, parts: Components, latents: NDArray[np.float32], captions: list[str], seed: int
    ) -> dict[str, Array]:
        n = len(latents)
        if len(captions) != n:
            raise InvalidInputError(f"{n} latents need {n} captions, got {len(captions)}")
        ops, rng = self._ops, generator(seed, "train_step")
        text, text_mask = encode_prompt(ops, parts, captions)
        host = {
            "latents": latents,
            "noise": rng.standard_normal(latents.shape, dtype=np.float32),
            "t": training_timesteps(rng, n, ratio=parts.config.timestep_shift),
            "drop": np.asarray(rng.random(n) < self._dropout),
            "fps": np.full(n, IMAGE_FPS if latents.shape[2] == 1 else parts.config.fps, np.float32),
        }
        return {"text": text, "text_mask": text_mask, **{name: ops.asarray(a) for name, a in host.items()}}
