"""Training a loaded model in place, one step at a time; whole runs are the Trainer's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..module import rebuild, state_dict
from ..ops import Array, Ops
from ..random import generator
from ..schedulers.timesteps import training_timesteps
from ..training.objective import training_loss
from ..training.optimizer import AdamState, AdamW
from .components import Components
from .generation import encode_prompt

FROZEN = ("rope.freqs",)


class Learner:
    """The optimizer's state of one model."""

    def __init__(self, ops: Ops, optimizer: AdamW | None = None, caption_dropout: float = 0.1) -> None:
        self._ops, self._optimizer, self._dropout = ops, optimizer or AdamW(), caption_dropout
        self._moments: AdamState | None = None
        self._steps = 0

    def step(
        self, parts: Components, latents: Any, captions: list[str], *, seed: int, learning_rate: float
    ) -> tuple[Components, float]:
        """One step on latents [B, C, T, h, w]; returns the parts with a new denoiser, and the loss before the step."""
        ops, config = self._ops, parts.config
        batch = self._batch(parts, np.asarray(latents, np.float32), captions, seed)
        rows, columns = config.codec.block[1:]
        size = {"height": float(np.shape(latents)[3] * rows), "width": float(np.shape(latents)[4] * columns)}
        params = state_dict(parts.denoiser)
        frozen = {name: params.pop(name) for name in FROZEN}

        def objective(ops: Ops, params: Mapping[str, Array]) -> Array:
            denoiser = rebuild(parts.denoiser, {**frozen, **params})
            return training_loss(ops, denoiser, batch, prediction=config.prediction, **size)

        loss, grads = ops.value_and_grad(objective, params)
        self._steps += 1
        moments = self._moments or self._optimizer.init(ops, params)
        params, self._moments = self._optimizer.update(ops, params, grads, moments, self._steps, learning_rate)
        return replace(parts, denoiser=rebuild(parts.denoiser, {**frozen, **params})), float(ops.to_numpy(loss))

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
            "fps": np.full(n, 120.0 if latents.shape[2] == 1 else parts.config.fps, np.float32),
        }
        return {"text": text, "text_mask": text_mask, **{name: ops.asarray(a) for name, a in host.items()}}
