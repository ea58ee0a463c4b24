"""The model, its sampler and its training as programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...dit.stdit3 import STDiT3
from ...module import rebuild
from ...nn.init import ShapeInit
from ...ops import Array, Ops
from ...random import normal_batch
from ...schedulers.rectified_flow import euler, guided
from ...schedulers.timesteps import sampling_timesteps
from ...training.objective import training_loss
from ...training.optimizer import AdamW
from ..table import DTYPES
from .blocks import CAPTION, CONFIG, TOKENS, text_mask
from .program_group import Program, Size, draw, weights_of, with_module

MODEL = STDiT3.create(CONFIG, ShapeInit())
HEIGHT, WIDTH = 32.0, 48.0
STEPS, GUIDANCE = 3, 3.0
OPTIMIZER = AdamW(
    1e-2, eps=1e-3, weight_decay=0.01
)  # with a small eps, a gradient of rounding noise steps as others do
FROZEN = "rope.freqs"
Rng = np.random.Generator


def model_programs() -> Iterator[Program]:
    """All programs of the level "model"."""
    yield Program("model", "stdit3", with_module(MODEL, _predict), _model_inputs, DTYPES)
    yield Program(
        "model", "sampling", with_module(MODEL, _sample), _sampling_inputs, ("float64", "float32", "bfloat16")
    )


def train_programs() -> Iterator[Program]:
    """All programs of the level "train"."""
    yield Program("train", "gradients", _gradients, _training_inputs, ("float64", "float32"))
    yield Program("train", "optimizer_steps", _steps, _training_inputs, ("float64", "float32"))


def _weights(rng: Rng) -> dict[str, Array]:
    return {**weights_of(MODEL, rng), FROZEN: np.asarray(MODEL.rope.freqs, np.float64)}


def _text(rng: Rng, B: int) -> tuple[Array, Array]:
    return draw(rng, B, TOKENS, CAPTION), text_mask(B)


# ---------------------------------------------------------------------- one prediction, and a few steps of the sampler


def _predict(ops: Ops, model: STDiT3, x: Array, t: Array, text: Array, mask: Array, x_mask: Array, fps: Array) -> Array:
    return model(ops, x, t, text, mask, x_mask, fps, height=HEIGHT, width=WIDTH)


def _model_inputs(rng: Rng, size: Size) -> tuple[Any, ...]:
    B, T, H, W = size
    x, t = draw(rng, B, 3, T, H, W), np.linspace(90.0, 900.0, B).astype(np.float32)
    given = (np.arange(B * T) % 3 > 0).reshape(B, T)
    return _weights(rng), x, t, *_text(rng, B), given, np.full(B, 24.0, np.float32)


def _sample(ops: Ops, model: STDiT3, z: Array, text: Array, mask: Array, fps: Array) -> Array:
    context = model.encode_text(ops, text, mask)

    def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
        t = ops.full((z.shape[0],), timestep, z.dtype)
        return ops.astype(model.denoise(ops, z, t, context, x_mask, fps, height=HEIGHT, width=WIDTH), z.dtype)

    velocity = guided(ops, predict, GUIDANCE, CONFIG.in_channels)
    return [step.latents for step in euler(ops, velocity, z, sampling_timesteps(STEPS))][-1]


def _sampling_inputs(rng: Rng, size: Size) -> tuple[Any, ...]:
    B, T, H, W = size
    noise = normal_batch(0, "window0", B, (CONFIG.in_channels, T, H, W))
    text, mask = _text(rng, 2 * B)
    return _weights(rng), noise, text, mask, np.full(2 * B, 24.0, np.float32)


# ---------------------------------------------------------------------- training


def _objective(frozen: Array, batch: Mapping[str, Array]) -> Any:
    def loss(ops: Ops, params: Mapping[str, Array]) -> Array:
        return training_loss(ops, rebuild(MODEL, {**params, FROZEN: frozen}), batch, height=HEIGHT, width=WIDTH)

    return loss


def _gradients(ops: Ops, weights: Mapping[str, Array], batch: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
    params = {name: w for name, w in weights.items() if name != FROZEN}
    return ops.value_and_grad(_objective(weights[FROZEN], batch), params)


def _steps(ops: Ops, weights: Mapping[str, Array], batch: Mapping[str, Array]) -> list[Any]:
    """Losses of a few steps of AdamW, and the weights after them."""
    params: Mapping[str, Array] = {name: w for name, w in weights.items() if name != FROZEN}
    state, losses = OPTIMIZER.init(ops, params), []
    for step in range(1, STEPS + 1):
        loss, grads = ops.value_and_grad(_objective(weights[FROZEN], batch), params)
        params, state = OPTIMIZER.update(ops, params, grads, state, step)
        losses.append(loss)
    return [*losses, params]


def _training_inputs(rng: Rng, size: Size) -> tuple[Any, ...]:
    B, T, H, W = size
    text, mask = _text(rng, B)
    batch = {
        "latents": draw(rng, B, 3, T, H, W),
        "noise": draw(rng, B, 3, T, H, W),
        "t": np.linspace(150.0, 850.0, B),
        "text": text,
        "text_mask": mask,
        "drop": np.arange(B) % 2 == 1,
        "fps": np.full(B, 24.0),
        "x_mask": (np.arange(B * T) % 3 < 2).reshape(B, T),
    }
    return _weights(rng), batch
