"""Whole models around the Trainer: what it takes from a model, and the model that its denoiser makes."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..dit.config import STDiT3Config
from ..errors import InvalidInputError
from ..module import state_dict, to_backend, tree_map
from ..registry import get_backend
from ..training.recipe import Recipe
from ..training.trainer import Trainer
from .config import OpenSoraConfig
from .frames import to_latents
from .opensora import OpenSora


def make_trainer(model: OpenSora, recipe: Recipe, folder: Path | None = None, *, compile: bool = False) -> Trainer:
    """Return a Trainer of a new denoiser for a model's text encoder, vocabulary and autoencoder, on its backend.

    Clips are encoded by NumPy, ahead of the step that needs them. Raises InvalidInputError when the recipe's denoiser
    does not fit the other parts.
    """
    around(model.config, recipe)
    parts, numpy = model._parts, get_backend("numpy", device="cpu", dtype="float32")
    on_host = replace(parts, codec=to_backend(numpy, tree_map(model.ops.to_numpy, parts.codec)))

    def encode(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return to_latents(numpy, on_host, frames)

    return Trainer(model.ops, recipe, parts.tokenizer, parts.text_encoder, encode, folder, compile)


def trained_model(model: OpenSora, trainer: Trainer, *, ema: bool = True) -> OpenSora:
    """Return a model with the denoiser as trained so far, averaged or raw, and the other parts of `model`."""
    weights = trainer.denoiser(ema=ema)
    state = {name: array for name, array in model.state_dict().items() if not name.startswith("denoiser.")}
    state |= {f"denoiser.{name}": trainer.ops.to_numpy(array) for name, array in state_dict(weights).items()}
    made = OpenSora(around(model.config, trainer.recipe), backend=model.ops)
    made.load_state_dict(state)
    return made


def around(config: OpenSoraConfig, recipe: Recipe) -> OpenSoraConfig:
    """Return the configuration with the recipe's denoiser and its way of prediction; all else stays.

    Raises InvalidInputError naming what does not fit: latent channels, text width, prompt length.
    """
    changed = config.around(recipe.denoiser, prediction=recipe.prediction, timestep_shift=recipe.timestep_shift)
    wrong = [
        f"{f.name}={getattr(recipe.denoiser, f.name)!r}, here {getattr(changed.denoiser, f.name)!r}"
        for f in fields(STDiT3Config)
        if getattr(recipe.denoiser, f.name) != getattr(changed.denoiser, f.name)
    ]
    if wrong:
        raise InvalidInputError(
            "the recipe's denoiser does not fit the model's text encoder and autoencoder: " + "; ".join(wrong)
        )
    return changed
