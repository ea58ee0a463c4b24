"""Whole models around the Trainer: what it takes from a model, and the model that its denoiser makes."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dit.config import STDiT3Config
from ..errors import InvalidInputError
from ..module import state_dict, to_backend, tree_map
from ..nn.lora import attach, merged
from ..registry import get_backend
from ..serialization.array_cache import DEFAULT_BYTES, ArrayCache
from ..training.checkpoints import KEEP
from ..training.datasets.files import Encoders, TrainingFiles
from ..training.recipe import Recipe
from ..training.team import Team
from ..training.trainer import Trainer
from ..training.validation import held_out
from .config import OpenSoraConfig
from .frames import to_latents
from .opensora import OpenSora
from .sample_sheets import SampleSheets


def make_trainer(
    model: OpenSora,
    recipe: Recipe,
    folder: Path | None = None,
    *,
    compile: bool = False,
    cache: Path | None = None,
    cache_bytes: int = DEFAULT_BYTES,
    workers: int = 1,
    keep: int = KEEP,
    team: Team | None = None,
) -> Trainer:
    """Return a Trainer of a new denoiser for a model's text encoder, vocabulary and autoencoder, on its backend.

    With `lora` in the recipe it trains adapters of the model's own denoiser, which must be the recipe's. `team`: the
    processes that train together, from `training.team.join`; all call this alike.

    Clips are encoded by NumPy, ahead of the step that needs them, by as many threads as there are `workers`. What is
    made of files is kept in `cache`, by default `folder/cache`, up to `cache_bytes`. Of the checkpoints in `folder` the
    newest `keep` stay, and pictures of the recipe's `samples` go to `folder/samples`. Raises InvalidInputError when the
    recipe's denoiser does not fit the other parts, and when a stage's files, or the prompts of samples, are of no use.
    """
    around(model.config, recipe)
    encoders = host_encoders(model)
    kept = cache or (None if folder is None else folder / "cache")
    store = None if kept is None else ArrayCache(kept, cache_bytes)
    parts = model._parts
    trainer = Trainer(
        model.ops,
        recipe,
        parts.tokenizer,
        parts.text_encoder,
        encoders.latents,
        folder,
        compile,
        files=_files(recipe, encoders, store),
        workers=workers,
        keep=keep,
        held_out_files=_files(held_out(recipe), encoders, store),
        team=team,
    )
    if recipe.lora is not None:
        trainer.start_from(state_dict(parts.denoiser))
    if recipe.samples is not None and trainer.folder is not None:
        sheets = SampleSheets(recipe.samples, lambda: trained_model(model, trainer), trainer.folder / "samples")
        trainer.callbacks.append(sheets)
    return trainer


def _files(recipe: Recipe | None, encoders: Encoders, cache: ArrayCache | None) -> TrainingFiles | None:
    """The files of a recipe, if one of its stages learns from any."""
    if recipe is None or all(stage.data is None for stage in recipe.stages):
        return None
    return TrainingFiles(recipe, encoders, cache)


def host_encoders(model: OpenSora) -> Encoders:
    """Text encoder and autoencoder of a model on NumPy, with the hashes of their weights."""
    numpy, parts = get_backend("numpy", device="cpu", dtype="float32"), model._parts
    on_host = replace(parts, codec=to_backend(numpy, tree_map(model.ops.to_numpy, parts.codec)))
    text_encoder = to_backend(numpy, tree_map(model.ops.to_numpy, parts.text_encoder))

    def latents(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return to_latents(numpy, on_host, frames)

    def text(caption: str) -> NDArray[np.float32]:
        ids, mask = parts.tokenizer.encode_batch([caption])
        return np.asarray(text_encoder(numpy, numpy.asarray(ids), numpy.asarray(mask))[0], np.float32)

    words = [*parts.tokenizer.vocabulary, str(parts.tokenizer.max_length)]
    return Encoders(
        latents, text, _hash(on_host.codec, parts.config.codec), _hash(text_encoder, parts.config.text, words)
    )


def _hash(module: Any, *made_of: Any) -> str:
    """What tells an encoder from any other: its weights, configuration and vocabulary."""
    digest = hashlib.sha256(repr(made_of).encode())
    for name, array in state_dict(module).items():
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def trained_model(model: OpenSora, trainer: Trainer, *, ema: bool = True) -> OpenSora:
    """Return a model with the denoiser as trained so far, averaged or raw, and the other parts of `model`."""
    adapted = None if trainer.recipe.lora is None else attach(model._parts.denoiser, trainer.adapters(ema=ema))
    weights = trainer.denoiser(ema=ema) if adapted is None else merged(model.ops, adapted)
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
            f"the recipe's denoiser does not fit the model's text encoder and autoencoder: {'; '.join(wrong)}. "
            "Change it, or choose a model with parts that fit (--init FOLDER)"
        )
    return changed
