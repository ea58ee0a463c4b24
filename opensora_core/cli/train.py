"""train: a denoiser from a recipe, resumable at any time."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import CancelledError
from .model_options import BackendOptions
from .options import Option
from .progress import duration
from .screen import Screen
from .training_options import ExportOptions, StartOptions, WorkOptions

if TYPE_CHECKING:
    from ..pipelines.training_run import Run
    from ..training.log import Progress
    from ..training.tensorboard import TensorBoard

SMOOTHING = 0.98  # of the loss that is shown, per step
SHOWN = 8  # unknown words


def train(
    screen: Screen,
    output: Annotated[Path, Option("--output", "-o", help="Folder of the run: checkpoints, log.jsonl, the model.")],
    start: StartOptions,
    backend: BackendOptions,
    work: WorkOptions,
    exports: ExportOptions,
    minutes: Annotated[
        float | None, Option(min=0, help="Stop, saved, after so long; 0 trains nothing and only exports.")
    ] = None,
    tensorboard: Annotated[
        bool, Option("--tensorboard", help="Also write the curves into tensorboard/ of the run.")
    ] = False,
) -> None:
    """Train a denoiser by a recipe. Ctrl-C saves; --resume goes on as if nothing had been.

    Example: opensora train --config recipe.toml --output runs/a --minutes 30 --backend torch
    """
    from ..training.team import join

    ops = backend.ops(screen, "float32")
    team = join(ops)
    screen.quiet = screen.quiet or team.rank > 0
    run = start.open(ops, output, {**work.settings(), "team": team})
    if words := run.trainer.unknown_words():
        screen.note(_unknown(words))
    with _curves(run, output / "tensorboard") if tensorboard and not team.rank else nullcontext():
        told = _train(screen, run, None if minutes is None else minutes * 60)
    team.leave()
    if not team.rank:
        _report(screen, run, told, exports)


@dataclass
class _Told:
    """What the steps of a run have told so far."""

    first: int  # step that the run began at
    seconds: float = 0.0
    loss: float | None = None  # smoothed
    samples: int = 0
    held_out: str = ""

    def add(self, progress: Progress, seconds: float) -> None:
        """One more step, so many seconds after the start."""
        loss = progress.loss
        self.loss = loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * loss
        self.samples += progress.samples
        self.seconds = seconds
        if progress.validation is not None:
            self.held_out = f", validation {progress.validation['mean']:.4f}"

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.samples else 0.0


def _unknown(words: list[str]) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return (
        f"words of the captions that this model cannot tell from each other, all being unknown: "
        f"{', '.join(words[:SHOWN])}{more}; `python -m opensora_core.pipelines.new_words` adds words"
    )


def _train(screen: Screen, run: Run, limit: float | None) -> _Told:
    """Train, for so many seconds at most."""
    told, start = _Told(run.step), time.perf_counter()
    if limit == 0:
        return told
    try:
        with screen.progress("training", report=True) as advance, closing(run.steps(limit)) as steps:
            for progress in steps:
                told.add(progress, time.perf_counter() - start)
                left = "" if limit is None else f", stops in {duration(max(0.0, limit - told.seconds))}"
                text = f"loss {told.loss:.4f}{told.held_out}, {told.samples_per_second:.1f} samples/s{left}"
                advance(progress.step, progress.total, f"{progress.stage}, {text}")
    except KeyboardInterrupt as error:
        raise CancelledError(f"interrupted; step {run.step} is saved, --resume goes on from there") from error
    return told


def _report(screen: Screen, run: Run, told: _Told, exports: ExportOptions) -> None:
    """Write the models, and say where they are and how it went."""
    model = exports.write(run)
    files = run.trainer.files
    if files is not None and (skipped := files.skipped.summary()):
        screen.note(skipped)
    speed = f", loss {told.loss:.4f}, {told.samples_per_second:.1f} samples/s" if told.loss is not None else ""
    done = f"step {run.step} of {run.total}{speed}, {duration(told.seconds)}"
    screen.result(_document(run, told, exports), f"{run.folder}: {done}; model in {model}")


def _document(run: Run, told: _Told, exports: ExportOptions) -> dict[str, Any]:
    files, ops = run.trainer.files, run.trainer.ops
    return {
        "output": str(run.folder),
        "model": str(run.model),
        "export": None if exports.export is None else str(exports.export),
        "step": run.step,
        "total_steps": run.total,
        "steps_now": run.step - told.first,
        "loss": told.loss,
        "samples": told.samples,
        "samples_per_second": round(told.samples_per_second, 2),
        "seconds": round(told.seconds, 3),
        "backend": ops.name,
        "device": ops.device,
        "skipped": {} if files is None else files.skipped.reasons,
        "cache_bytes": 0 if files is None or files.cache is None else files.cache.bytes,
    }


def _curves(run: Run, folder: Path) -> TensorBoard:
    from ..training.tensorboard import TensorBoard

    board = TensorBoard(folder, run.step)
    run.trainer.callbacks.append(board)
    return board
