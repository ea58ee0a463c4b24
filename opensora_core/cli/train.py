"""train: a denoiser from a recipe, resumable at any time."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import CancelledError, InvalidInputError
from .options import BackendOptions, Option
from .progress import duration
from .screen import Screen

if TYPE_CHECKING:
    from ..ops import Ops
    from ..pipelines.training_run import Run
    from ..training.tensorboard import TensorBoard

SMOOTHING = 0.98  # of the loss that is shown, per step


def train(
    screen: Screen,
    output: Annotated[Path, Option("--output", "-o", help="Folder of the run: checkpoints, log.jsonl, the model.")],
    backend: BackendOptions,
    config: Annotated[
        Path | None, Option("--config", "-c", help="Recipe (TOML). With --resume, by default the run's own.")
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Go on with the run in the folder.")] = False,
    minutes: Annotated[
        float | None, Option(min=0, help="Stop, saved, after so long; 0 trains nothing and only exports.")
    ] = None,
    init: Annotated[
        Path | None,
        Option(help="Model that text encoder, vocabulary and autoencoder come from; by default the embedded one."),
    ] = None,
    warm_start: Annotated[
        bool, Option("--warm-start", help="Begin with that model's denoiser too, not with random weights.")
    ] = False,
    text_encoder: Annotated[
        Path | None, Option(help="File of `python -m opensora_core.training.text_pretraining` to use instead.")
    ] = None,
    codec: Annotated[
        Path | None, Option(help="File of `python -m opensora_core.training.fit_codec` or `.refiner` to use instead.")
    ] = None,
    compile: Annotated[bool, Option("--compile", help="Compile the training step (Torch); pays in long runs.")] = False,
    workers: Annotated[int, Option(min=1, help="Threads that prepare batches.")] = 1,
    keep: Annotated[int, Option(min=1, help="How many checkpoints stay, the newest ones.")] = 2,
    tensorboard: Annotated[
        bool, Option("--tensorboard", help="Also write the curves into tensorboard/ of the run.")
    ] = False,
    cache: Annotated[
        Path | None, Option(help="Folder for latents and text features of files; by default cache/ of the run.")
    ] = None,
    cache_gb: Annotated[float, Option(min=0, help="How large that folder may get.")] = 10.0,
    export: Annotated[
        Path | None, Option(help="Also write the model into this folder at the end; NAME.safetensors: the LoRA.")
    ] = None,
    export_dtype: Annotated[str | None, Option(help="Precision of the exported weights, such as float16.")] = None,
) -> None:
    """Train a denoiser by a recipe. Ctrl-C saves; --resume goes on as if nothing had been.

    Example: opensora train --config recipe.toml --output runs/a --minutes 30 --backend torch
    """
    from ..training.team import join

    ops = backend.ops(screen, "float32")
    parts = {"init": init, "text_encoder": text_encoder, "codec": codec}
    options: dict[str, Any] = {"compile": compile, "workers": workers, "keep": keep, "cache": cache}
    options["cache_bytes"] = int(cache_gb * 1e9)
    team = join(ops)
    options["team"] = team
    screen.quiet = screen.quiet or team.rank > 0
    run = _open(ops, config, output, resume, parts, warm_start, options)
    files = run.trainer.files
    start, first = time.perf_counter(), run.step
    with _curves(run, output / "tensorboard") if tensorboard and not team.rank else nullcontext():
        loss, samples = _train(screen, run, None if minutes is None else minutes * 60)
    seconds = time.perf_counter() - start
    team.leave()
    if team.rank:
        return
    model = run.export()
    if export is not None:
        run.export(export, dtype=export_dtype)
    speed = samples / seconds if samples else 0.0
    document = {
        "output": str(output),
        "model": str(model),
        "export": None if export is None else str(export),
        "step": run.step,
        "total_steps": run.total,
        "steps_now": run.step - first,
        "loss": loss,
        "samples": samples,
        "samples_per_second": round(speed, 2),
        "seconds": round(seconds, 3),
        "backend": ops.name,
        "device": ops.device,
        "skipped": {} if files is None else files.skipped.reasons,
        "cache_bytes": 0 if files is None or files.cache is None else files.cache.bytes,
    }
    if files is not None and (skipped := files.skipped.summary()):
        screen.note(skipped)
    trained = f", loss {loss:.4f}, {speed:.1f} samples/s" if loss is not None else ""
    screen.result(
        document,
        f"{output}: step {run.step} of {run.total}{trained}, {duration(seconds)}; model in {export or model}",
    )


def _open(
    ops: Ops,
    config: Path | None,
    output: Path,
    resume: bool,
    parts: dict[str, Any],
    warm: bool,
    options: dict[str, Any],
) -> Run:
    from ..pipelines.training_run import RECIPE, Run, assemble, exists
    from ..training.recipe import load_recipe

    given = any(path is not None for path in parts.values())
    if resume and exists(output):
        recipe = config or output / RECIPE
        made = load_recipe(recipe)
        base = assemble(made, ops, **parts, keep_denoiser=made.lora is not None) if given else None
        return Run.resume(output, ops, recipe=config, base=base, **options)
    if config is None:
        raise InvalidInputError("a new run needs a recipe: --config recipe.toml")
    if exists(output):
        raise InvalidInputError(f"{output} holds a training run already: go on with --resume, or choose another folder")
    made = load_recipe(config)
    base = assemble(made, ops, **parts, keep_denoiser=warm or made.lora is not None)
    return Run.start(output, config, base, warm=warm, **options)


def _curves(run: Run, folder: Path) -> TensorBoard:
    from ..training.tensorboard import TensorBoard

    board = TensorBoard(folder, run.step)
    run.trainer.callbacks.append(board)
    return board


def _train(screen: Screen, run: Run, seconds: float | None) -> tuple[float | None, int]:
    """Train; returns the smoothed loss (None without a step) and the number of samples."""
    loss, samples, held_out, start = None, 0, "", time.monotonic()
    if seconds == 0:
        return loss, samples
    try:
        with screen.progress("training", report=True) as advance, closing(run.steps(seconds)) as steps:
            for progress in steps:
                loss = progress.loss if loss is None else SMOOTHING * loss + (1 - SMOOTHING) * progress.loss
                samples += progress.samples
                elapsed = time.monotonic() - start
                if progress.validation is not None:
                    held_out = f", validation {progress.validation['mean']:.4f}"
                text = f"{progress.stage}, loss {loss:.4f}{held_out}, {samples / elapsed:.1f} samples/s"
                if seconds is not None:
                    text += f", stops in {duration(max(0.0, seconds - elapsed))}"
                advance(progress.step, progress.total, text)
    except KeyboardInterrupt as error:
        raise CancelledError(f"interrupted; step {run.step} is saved, --resume goes on from there") from error
    return loss, samples
