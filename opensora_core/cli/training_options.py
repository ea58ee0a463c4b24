"""The options of `opensora train`: what a run begins with, how it works, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import InvalidInputError
from .options import Option

if TYPE_CHECKING:
    from ..ops import Ops
    from ..pipelines.training_run import Run


@dataclass(frozen=True)
class StartOptions:
    """What a run begins with, or goes on from."""

    config: Annotated[
        Path | None,
        Option(
            "--config",
            "-c",
            help="Recipe: a TOML file, or embedded, or open-sora-v1.2. With --resume, by default the run's own.",
        ),
    ] = None
    resume: Annotated[bool, Option("--resume", help="Go on with the run in the folder.")] = False
    init: Annotated[
        Path | None,
        Option(
            help="Model of this library, such as RUN/model, that text encoder, vocabulary and autoencoder come from; "
            "by default the embedded one."
        ),
    ] = None
    warm_start: Annotated[
        bool, Option("--warm-start", help="Begin with that model's denoiser too, not with random weights.")
    ] = False
    text_encoder: Annotated[
        Path | None, Option(help="File of `python -m opensora_core.training.text_pretraining` to use instead.")
    ] = None
    codec: Annotated[
        Path | None, Option(help="File of `python -m opensora_core.training.fit_codec` or `.refiner` to use instead.")
    ] = None

    def open(self, ops: Ops, output: Path, options: dict[str, Any]) -> Run:
        """Return the run in the folder `output`, gone on with or new; options: those of `make_trainer`."""
        from ..pipelines.training_run import exists

        if self.resume and exists(output):
            return self._resumed(ops, output, options)
        if self.config is None:
            missing = f"{output} holds no training run to go on with: " if self.resume else ""
            remedy = "a new run needs a recipe: --config recipe.toml, or a preset: --config embedded"
            raise InvalidInputError(missing + remedy)
        if exists(output):
            raise InvalidInputError(
                f"{output} holds a training run already: go on with --resume, or choose another folder"
            )
        return self._new(ops, self.config, output, options)

    def _new(self, ops: Ops, config: Path, output: Path, options: dict[str, Any]) -> Run:
        from ..pipelines.training_run import Run, assemble
        from ..training.recipe import load_recipe

        recipe = load_recipe(config)
        base = assemble(recipe, ops, **self._parts(), keep_denoiser=self.warm_start or recipe.lora is not None)
        return Run.start(output, config, base, warm=self.warm_start, **options)

    def _resumed(self, ops: Ops, output: Path, options: dict[str, Any]) -> Run:
        from ..pipelines.training_run import RECIPE, Run, assemble
        from ..training.recipe import load_recipe

        recipe = load_recipe(self.config or output / RECIPE)
        parts = self._parts()
        given = any(path is not None for path in parts.values())
        base = assemble(recipe, ops, **parts, keep_denoiser=recipe.lora is not None) if given else None
        return Run.resume(output, ops, recipe=self.config, base=base, **options)

    def _parts(self) -> dict[str, Path | None]:
        return {"init": self.init, "text_encoder": self.text_encoder, "codec": self.codec}


@dataclass(frozen=True)
class WorkOptions:
    """How a run works, which changes nothing of what it learns."""

    compile: Annotated[bool, Option("--compile", help="Compile the training step (Torch); pays in long runs.")] = False
    workers: Annotated[int, Option(min=1, help="Threads that prepare batches.")] = 1
    keep: Annotated[int, Option(min=1, help="How many checkpoints stay, the newest ones.")] = 2
    cache: Annotated[
        Path | None, Option(help="Folder for latents and text features of files; by default cache/ of the run.")
    ] = None
    cache_gb: Annotated[float, Option(min=0, help="How large that folder may get.")] = 10.0

    def settings(self) -> dict[str, Any]:
        """As `make_trainer` takes them."""
        kept = {"keep": self.keep, "cache": self.cache, "cache_bytes": int(self.cache_gb * 1e9)}
        return {"compile": self.compile, "workers": self.workers, **kept}


@dataclass(frozen=True)
class ExportOptions:
    """What a run leaves beside its own folder."""

    export: Annotated[
        Path | None, Option(help="Also write the model into this folder at the end; NAME.safetensors: the LoRA.")
    ] = None
    export_dtype: Annotated[str | None, Option(help="Precision of the exported weights, such as float16.")] = None

    def write(self, run: Run) -> Path:
        """Write the run's own model and the one that is asked for; returns where the latter, else the former, is."""
        own = run.export()
        return own if self.export is None else run.export(self.export, dtype=self.export_dtype)
