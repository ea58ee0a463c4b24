"""A training run in a folder of its own, which holds all it takes to go on.

recipe.toml       what is trained
model/            a whole model: text encoder, autoencoder, vocabulary, and the denoiser as last exported
base/             where adapters are trained (LoRA): the model that they adapt
step-NNNNNNNN/    the newest checkpoints
log.jsonl         one line a step
samples/          pictures of what was learned so far, if the recipe asks for them
cache/            latents and text features of files, unless they are kept elsewhere
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from ..module import state_dict
from ..ops import Ops
from ..releases.hub import local
from ..serialization.atomic import atomic_file
from ..serialization.leftovers import put_back
from ..training.codec_file import load_codec
from ..training.lora import save_lora
from ..training.presets import recipe_file
from ..training.recipe import Recipe, load_recipe
from ..training.repatch import repatched
from ..training.text_file import load_text_encoder
from ..training.trainer import Progress, Trainer
from .config import OpenSoraConfig
from .opensora import OpenSora
from .storage import is_own
from .training import around, make_trainer, trained_model

RECIPE, MODEL, BASE = "recipe.toml", "model", "base"


class Run:
    """One training run.

    Args:
        folder: where it lives.
        base: the model whose text encoder, autoencoder and vocabulary it uses.
        trainer: trains the new denoiser.
    """

    def __init__(self, folder: Path, base: OpenSora, trainer: Trainer) -> None:
        self.folder, self.base, self.trainer = folder, base, trainer
        self.model = folder / MODEL

    @classmethod
    def start(cls, folder: Path, recipe: str | Path, base: OpenSora, *, warm: bool = False, **options: Any) -> Run:
        """Begin in a folder that holds no run yet; raises InvalidInputError if it does, or if nothing fits.

        recipe: a file, or the name of a preset. warm: begin with the base model's denoiser, not with random weights.
        options: those of `make_trainer`.
        """
        if exists(folder):
            raise InvalidInputError(f"{folder} holds a training run already: go on with it (resume), or choose another")
        trainer = make_trainer(base, load_recipe(recipe), folder, **options)
        if warm:
            trainer.start_from(state_dict(base._parts.denoiser))
        run = cls(folder, base, trainer)
        run._prepare(recipe, new_base=True)
        return run

    @classmethod
    def resume(
        cls,
        folder: Path,
        ops: Ops,
        *,
        recipe: str | Path | None = None,
        base: OpenSora | None = None,
        **options: Any,
    ) -> Run:
        """Go on from the newest checkpoint; a recipe or base model that is given replaces the run's own."""
        put_back(folder)
        if not exists(folder):
            raise InvalidInputError(f"{folder} holds no training run to resume")
        own = folder / (BASE if (folder / BASE).exists() else MODEL)
        new_base, base = base is not None, base or OpenSora.from_pretrained(own, backend=ops)
        recipe = recipe or folder / RECIPE
        trainer = make_trainer(base, load_recipe(recipe), folder, **options)
        trainer.resume()
        run = cls(folder, base, trainer)
        run._prepare(recipe, new_base)
        return run

    def _prepare(self, recipe: str | Path, new_base: bool) -> None:
        """Make the folder self-contained; the first process of a team does."""
        self.trainer.team.barrier()  # all have looked at the folder, and read what they need
        if self.trainer.team.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        source = recipe_file(recipe)
        if source != self.folder / RECIPE:
            with atomic_file(self.folder / RECIPE) as temporary:
                shutil.copyfile(source, temporary)
        if new_base and self.trainer.recipe.lora is not None:
            self.base.save(self.folder / BASE)
        self.export()

    @property
    def step(self) -> int:
        """Finished steps of the whole run."""
        return self.trainer.state.step

    @property
    def total(self) -> int:
        """Steps of the recipe."""
        return self.trainer.recipe.total_steps

    def steps(self, seconds: float | None = None) -> Generator[Progress, None, None]:
        """Train until the recipe ends or the time is up; closing the iterator saves a checkpoint."""
        return self.trainer.run(seconds=seconds)

    def export(self, folder: Path | None = None, *, dtype: str | None = None) -> Path:
        """Write a whole model with the averaged weights, by default the run's own `model`.

        Adapters are merged into it; a `folder` that is a file's name, *.safetensors, gets the adapters alone.
        """
        if folder is not None and folder.suffix == ".safetensors":
            if self.trainer.recipe.lora is None or dtype is not None:
                raise InvalidInputError(
                    f"{folder} would hold adapters in float32, of a recipe with [lora]: name a folder"
                )
            save_lora(folder, self.trainer.ops, self.trainer.adapters())
            return folder
        return trained_model(self.base, self.trainer).save(folder or self.model, dtype=dtype)


def exists(folder: Path) -> bool:
    """Whether a folder holds a training run, perhaps one without a recipe of its own."""
    return (folder / RECIPE).exists() or (folder / "log.jsonl").exists() or any(folder.glob("step-*"))


def assemble(
    recipe: Recipe,
    ops: Ops,
    *,
    init: Path | None = None,
    text_encoder: Path | None = None,
    codec: Path | None = None,
    keep_denoiser: bool = False,
) -> OpenSora:
    """Return the model that a run starts from: a folder's (default: the embedded one), or made of parts in files.

    text_encoder, codec: files of `text_pretraining`, and of `fit_codec` or `refiner`, in place of the folder's parts;
    with both, no folder is needed. The denoiser is the recipe's, untrained, or with `keep_denoiser` the folder's, which
    the recipe must describe, but for patches that may be smaller (see `repatched`). InvalidInputError for published
    weights, which are no whole model of this library.
    """
    config, state = OpenSoraConfig.preset("embedded"), {}
    if init is not None or text_encoder is None or codec is None or keep_denoiser:
        base = _own_model(init, ops)
        config, state = base.config, base.state_dict()
    if text_encoder is not None:
        encoder, tokenizer = load_text_encoder(text_encoder)
        config = replace(config, text=encoder.config, vocabulary=tokenizer.vocabulary)
        state = _with_part(state, "text_encoder", encoder)
    if codec is not None:
        block_codec = load_codec(codec)
        config = replace(config, codec=block_codec.config)
        state = _with_part(state, "codec", block_codec)
    model = OpenSora(around(config, recipe), backend=ops)
    if keep_denoiser:
        state = _with_smaller_patches(state, config, model.config)
    else:
        fresh = {name: array for name, array in model.state_dict().items() if name.startswith("denoiser.")}
        state = {**_without(state, "denoiser"), **fresh}
    model.load_state_dict(state)
    return model


def _own_model(init: Path | None, ops: Ops) -> OpenSora:
    if init is not None and not is_own(local(init)):
        raise InvalidInputError(
            f"{init} holds published weights; a run begins with a whole model of this library, as `opensora train` or "
            "`OpenSora.save` writes it. Published denoisers are trained in a program, by the library's losses: "
            "schedulers.diffusion_loss (v1.0, v1.1), training.objective (v1.2)"
        )
    return OpenSora.from_pretrained(init, backend=ops)


def _with_part(state: dict[str, Any], part: str, module: Any) -> dict[str, Any]:
    weights = {f"{part}.{name}": array for name, array in state_dict(module).items()}
    return {**_without(state, part), **weights}


def _with_smaller_patches(state: dict[str, Any], old: OpenSoraConfig, new: OpenSoraConfig) -> dict[str, Any]:
    if old.denoiser.patch_size == new.denoiser.patch_size:
        return state
    prefix = "denoiser."
    weights = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
    made = repatched(weights, old.denoiser, new.denoiser)
    return {**state, **{prefix + name: array for name, array in made.items()}}


def _without(state: dict[str, Any], part: str) -> dict[str, Any]:
    return {name: array for name, array in state.items() if not name.startswith(f"{part}.")}
