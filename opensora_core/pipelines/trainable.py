"""A model that learns: gradients of its loss, steps of AdamW, and checkpoints of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import number, one_of, whole
from ..errors import InvalidInputError, NonFiniteError
from ..module import state_dict
from ..ops import Array, Ops
from ..serialization.state import check_state
from . import checkpoint, storage
from .inputs import check_latents
from .learning import CAPTION_DROPOUT, InPlaceOptimizer, learning, loss_of, training_batch
from .predictor import Predictor

INPUTS = {"latents": "latents", "prompt_embeds": "text"}  # what inputs are called here, and in a training batch


class Trainable(Predictor):
    """Training of the denoiser, on any backend; text encoder and autoencoder stay as they are."""

    supports_training = True

    def train_step(
        self,
        latents: Any,
        text: list[str],
        *,
        seed: int,
        learning_rate: float = 1e-4,
        gradient_checkpointing: bool = False,
    ) -> float:
        """One AdamW step of the denoiser on latents [B, C, T, h, w] and their B captions; returns the loss.

        seed: fixes noise, times and dropped captions. The optimizer's moments live until other weights are loaded, and
        with them, for a model in half precision, float32 weights. gradient_checkpointing: keep only what goes into
        each block of the denoiser and compute the block again on the way back: the same numbers from less memory.
        Raises NonFiniteError, changing nothing, when the loss or a gradient is no finite number.
        """
        rate = number("learning_rate", learning_rate, 0)
        batch = self._batch(latents, text, seed, CAPTION_DROPOUT)
        optimizer = self._own_optimizer()
        self._loaded, loss = optimizer.step(self._parts, batch, rate, gradient_checkpointing=gradient_checkpointing)
        return loss

    def compute_gradients(
        self, latents: Any, text: list[str], *, seed: int, gradient_checkpointing: bool = False
    ) -> tuple[float, dict[str, NDArray[Any]]]:
        """Loss on latents [B, C, T, h, w] and their B captions, and its gradients by the weights that learn.

        The gradients have the names and shapes of `state_dict`, in float32 or better. Arguments as for `train_step`,
        which is this and `apply_gradients`.
        """
        batch = self._batch(latents, text, seed, CAPTION_DROPOUT)
        optimizer = self._own_optimizer()
        loss, grads = optimizer.gradients(self._parts, batch, gradient_checkpointing=gradient_checkpointing)
        return loss, {f"denoiser.{name}": self.ops.to_numpy(g) for name, g in grads.items()}

    def apply_gradients(self, grads: Mapping[str, Any], learning_rate: float = 1e-4) -> None:
        """One AdamW step by gradients that `compute_gradients` gave, or by sums or means of several.

        Raises WeightsError if they are not those of this model, NonFiniteError if one is no finite number; both change
        nothing.
        """
        rate = number("learning_rate", learning_rate, 0)
        own = {f"denoiser.{name}": a for name, a in learning(self._parts)[0].items()}
        check_state(storage.shapes(own), {name: np.shape(g) for name, g in grads.items()})
        given = {name.removeprefix("denoiser."): self.ops.asarray(grads[name], self.ops.wide_dtype) for name in own}
        self._loaded = self._own_optimizer().apply(self._parts, given, rate)

    def input_gradients(
        self,
        latents: Any,
        text: list[str],
        *,
        seed: int,
        wrt: Sequence[str] = ("latents", "prompt_embeds"),
        gradient_checkpointing: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """Gradients of the training loss by what goes in: by the latents [B, C, T, h, w] and by the text features.

        wrt: "latents", "prompt_embeds" (shape [B, L, C] of `encode_prompt`), or both. No caption is dropped. Other
        arguments as for `train_step`. Large values tell where a small change of the input would be noticed.
        """
        for name in wrt:
            one_of("wrt", name, tuple(INPUTS))
        parts = self._parts
        batch = self._batch(latents, text, seed, caption_dropout=0.0)

        def loss(ops: Ops, inputs: Mapping[str, Array]) -> Array:
            given = {**batch, **{INPUTS[name]: a for name, a in inputs.items()}}
            return loss_of(ops, parts, given, gradient_checkpointing=gradient_checkpointing)

        _, grads = self.ops.value_and_grad(loss, {name: batch[INPUTS[name]] for name in wrt})
        return {name: self.ops.to_numpy(g) for name, g in grads.items()}

    # ------------------------------------------------------------------ weights as one vector

    def flatten(self) -> NDArray[Any]:
        """All weights, in the order of `state_dict`, as one vector [num_parameters]; half precision as float32."""
        wide = "float64" if self.ops.dtype == "float64" else "float32"
        return np.concatenate([np.asarray(a, wide).reshape(-1) for _, a in self.iter_state()])

    def update_parameters(self, vector: Any) -> None:
        """Take all weights from a vector [num_parameters] as `flatten` gives it; the optimizer begins anew.

        Raises InvalidInputError for another length, NonFiniteError for NaN or Inf; both change nothing.
        """
        values = np.asarray(vector)
        if values.shape != (self.num_parameters,):
            raise InvalidInputError(f"a vector of shape {values.shape} must have shape ({self.num_parameters},)")
        if not np.isfinite(values).all():
            raise NonFiniteError(f"the vector holds NaN or Inf, first at index {int(np.argmin(np.isfinite(values)))}")
        own = state_dict(self._parts)
        ends = np.cumsum([int(np.prod(a.shape)) for a in own.values()])
        pieces = np.split(values, ends[:-1])
        self.load_state_dict({name: x.reshape(own[name].shape) for name, x in zip(own, pieces, strict=True)})

    # ------------------------------------------------------------------ checkpoints

    def save_checkpoint(self, folder: str | Path) -> Path:
        """Write weights and optimizer into a folder, whole or not at all; `load_checkpoint` goes on bit for bit.

        What `save` writes is smaller, and enough where nothing is to be trained on. Of whole runs, with their data,
        averages and stages, the `Trainer` keeps checkpoints.
        """
        checkpoint.save(Path(folder), self.ops, self._parts, self._optimizer)
        return Path(folder)

    def load_checkpoint(self, folder: str | Path) -> None:
        """Take weights and optimizer from a checkpoint of a model of the same configuration.

        Raises InvalidInputError if there is none or its configuration differs (it says where), FileFormatError if it is
        damaged; both change nothing.
        """
        self._loaded, self._optimizer = checkpoint.load(Path(folder), self.ops, self._parts)

    def _own_optimizer(self) -> InPlaceOptimizer:
        if self._optimizer is None:
            self._optimizer = InPlaceOptimizer(self.ops)
        return self._optimizer

    def _batch(self, latents: Any, text: list[str], seed: int, caption_dropout: float) -> dict[str, Array]:
        check_latents(np.shape(latents), self.config)
        if isinstance(text, str) or not all(isinstance(caption, str) for caption in text):
            raise InvalidInputError(f"text={text!r:.60} must be a list of captions, one for each latent")
        return training_batch(self.ops, self._parts, latents, text, whole("seed", seed, 0), caption_dropout)
