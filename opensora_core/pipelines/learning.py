"""Training a loaded model in place, one step at a time; whole runs are the Trainer's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpointed import checkpointed
from ..dit.embedders import conditioning_fps
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
CAPTION_DROPOUT = 0.1


def training_batch(
    ops: Ops, parts: Components, latents: Any, captions: Sequence[str], seed: int, caption_dropout: float
) -> dict[str, Array]:
    """What `training_loss` needs of latents [B, C, T, h, w] and their B captions; the seed draws noise and times."""
    latents = np.asarray(latents, np.float32)
    n = len(latents)
    if len(captions) != n:
        raise InvalidInputError(f"{n} latents need {n} captions, got {len(captions)}")
    rng = generator(seed, "train_step")
    text, text_mask = encode_prompt(ops, parts, list(captions))
    host: dict[str, NDArray[Any]] = {
        "latents": latents,
        "noise": rng.standard_normal(latents.shape, dtype=np.float32),
        "t": training_timesteps(rng, n, ratio=parts.config.timestep_shift),
        "drop": np.asarray(rng.random(n) < caption_dropout),
        "fps": np.full(n, conditioning_fps(latents.shape[2], parts.config.fps), np.float32),
    }
    return {"text": text, "text_mask": text_mask, **{name: ops.asarray(a) for name, a in host.items()}}


def loss_of(ops: Ops, parts: Components, batch: Mapping[str, Array], *, gradient_checkpointing: bool = False) -> Array:
    """The training loss of the parts' denoiser on a batch; its gradient may compute blocks again to save memory."""
    rows, columns = parts.config.codec.block[1:]
    h, w = batch["latents"].shape[3:]
    size = {"height": float(h * rows), "width": float(w * columns)}
    denoiser = checkpointed(parts.denoiser) if gradient_checkpointing else parts.denoiser
    return training_loss(ops, denoiser, batch, prediction=parts.config.prediction, **size)


class InPlaceOptimizer:
    """The optimizer's state of one model, and float32 weights where the model's own are of half precision."""

    def __init__(self, ops: Ops, optimizer: AdamW | None = None) -> None:
        self._ops, self._optimizer = ops, optimizer or AdamW()
        self.moments: AdamState | None = None
        self.steps = 0
        self.master: dict[str, Array] = {}
        self._rounded: dict[str, Array] = {}  # what was made of the master weights: theirs as long as it is in use

    def gradients(
        self, parts: Components, batch: Mapping[str, Array], *, gradient_checkpointing: bool
    ) -> tuple[float, dict[str, Array]]:
        """Loss on a batch and its gradient by every weight of the denoiser that learns."""
        own, frozen = learning(parts)

        def objective(ops: Ops, params: Mapping[str, Array]) -> Array:
            denoiser = rebuild(parts.denoiser, {**frozen, **_rounded(ops, params, own)})
            return loss_of(ops, replace(parts, denoiser=denoiser), batch, gradient_checkpointing=gradient_checkpointing)

        loss, grads = self._ops.value_and_grad(objective, self._master_of(own))
        return float(self._ops.to_numpy(loss)), grads

    def apply(self, parts: Components, grads: Mapping[str, Array], learning_rate: float) -> Components:
        """One AdamW step; returns the parts with a new denoiser.

        Raises NonFiniteError, leaving all as it was, when a gradient is no finite number.
        """
        ops = self._ops
        own, frozen = learning(parts)
        params = self._master_of(own)
        moments = self.moments or self._optimizer.init(ops, params)
        params, moments = self._optimizer.update(ops, params, grads, moments, self.steps + 1, learning_rate)
        if not is_finite(ops, moments):
            raise NonFiniteError("a gradient is not finite; nothing was changed")
        self.steps, self.moments = self.steps + 1, moments
        self.master, self._rounded = params, _rounded(ops, params, own)
        return replace(parts, denoiser=rebuild(parts.denoiser, {**frozen, **self._rounded}))

    def step(
        self, parts: Components, batch: Mapping[str, Array], learning_rate: float, *, gradient_checkpointing: bool
    ) -> tuple[Components, float]:
        """Gradients and AdamW step; returns the parts with a new denoiser, and the loss before the step.

        Raises NonFiniteError, leaving all as it was, when the loss or a gradient is no finite number.
        """
        loss, grads = self.gradients(parts, batch, gradient_checkpointing=gradient_checkpointing)
        if not np.isfinite(loss):
            raise NonFiniteError(f"the training loss is {loss}; nothing was changed")
        return self.apply(parts, grads, learning_rate), loss

    def restore(self, parts: Components, steps: int, master: Mapping[str, Array], moments: AdamState) -> None:
        """Go on from a state that was kept."""
        own, _ = learning(parts)
        self.steps, self.moments, self._rounded = steps, moments, own
        self.master = {name: master[name] for name in own}  # the moments are in the order of the weights

    def _master_of(self, own: Mapping[str, Array]) -> dict[str, Array]:
        """Weights to update, float32 or better: an update smaller than a half-precision step would be lost."""
        if self._rounded.keys() == own.keys() and all(self._rounded[name] is a for name, a in own.items()):
            return self.master
        return {name: self._ops.widen(a) for name, a in own.items()}


def learning(parts: Components) -> tuple[dict[str, Array], dict[str, Array]]:
    """Weights of the denoiser that learn, and those that do not."""
    own = state_dict(parts.denoiser)
    frozen = {name: own.pop(name) for name in FROZEN}
    return own, frozen


def _rounded(ops: Ops, params: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
    return {name: ops.astype(a, like[name].dtype) for name, a in params.items()}
