"""The trainer: steps through a recipe on any backend, logs, and continues from its own checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import whole
from ..dit.stdit3 import STDiT3
from ..errors import InvalidInputError, NonFiniteError
from ..interpose.places import Places
from ..module import rebuild, state_dict
from ..nn.init import RandomInit
from ..nn.lora import LowRank, adapters_of, merged
from ..ops import Array, Ops
from ..serialization.leftovers import remove_leftovers
from ..serialization.state import fill
from ..text.encoder import TextEncoder
from ..text.tokenizer import WordTokenizer
from . import log
from .blame import Objective, first_bad
from .checkpoints import KEEP, TrainState, latest_checkpoint, save_checkpoint
from .data import Batch, Encode, make_batch, parts, prefetch
from .datasets.files import TrainingFiles
from .lora import ADAPTERS, with_adapters
from .objective import training_loss
from .optimizer import ema_update, is_finite
from .parts import learned
from .recipe import Recipe
from .team import Team
from .validation import HeldOut


@dataclass(frozen=True)
class Progress:
    """What one finished step says about itself."""

    step: int  # finished steps of the whole run
    total: int
    stage: str
    loss: float
    seconds: float  # of this step
    samples: int
    learning_rate: float
    validation: dict[str, float] | None = None  # after some steps: the held-out loss, "mean" and by timestep


class Trainer:
    """Trains the denoiser of a prompted video model; text encoder and autoencoder stay frozen.

    Args:
        ops: backend of the arithmetic.
        recipe: what to train on, in stages.
        tokenizer, text_encoder: of the captions (the encoder's arrays on `ops`).
        encode: frames to latents, on the host.
        folder: where checkpoints and the log `log.jsonl` go; None keeps nothing.
        compile: let the backend compile the loss (worth it on Torch; each new shape costs a compilation).
        files: of the stages that learn from files.
        workers: threads that prepare batches; how many changes nothing but the time.
        keep: how many checkpoints stay, the newest ones.
        held_out_files: of the recipe's validation, if it is on files.
        team: the processes that train together, this one among them.

    Attributes:
        state: all that a run needs to go on.
        callbacks: functions of a `Progress` that `run` calls after every step, before it yields.
    """

    def __init__(
        self,
        ops: Ops,
        recipe: Recipe,
        tokenizer: WordTokenizer,
        text_encoder: TextEncoder,
        encode: Encode,
        folder: Path | None = None,
        compile: bool = False,
        files: TrainingFiles | None = None,
        workers: int = 1,
        keep: int = KEEP,
        held_out_files: TrainingFiles | None = None,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self.team.check(recipe)
        self.ops, self.recipe = ops, recipe
        self.folder = None if self.team.rank else folder  # which only the first process writes to
        self._checkpoints = folder
        self.files, self.workers = files, whole("workers", workers, 1)
        self._keep = whole("keep", keep, 1)
        if files is None and any(stage.data is not None for stage in recipe.stages):
            raise InvalidInputError("the recipe learns from files: open them with TrainingFiles, or use make_trainer")
        self._held_out = HeldOut(recipe, lambda of, i: make_batch(of, i, tokenizer, encode, held_out_files, "heldout"))
        self.callbacks: list[Callable[[Progress], object]] = []
        self._tokenizer, self._text_encoder, self._encode = tokenizer, text_encoder, encode
        init = RandomInit(recipe.seed)
        self._template = STDiT3.create(recipe.denoiser, init)
        train = recipe.train
        if recipe.lora is not None:
            self._template, train = with_adapters(self._template, recipe.lora, init), ADAPTERS
        self._learned = learned(train, recipe.frozen, list(state_dict(self._template)))
        self._optimizer = self.team.optimizer(recipe.optimizer)
        self._loss = ops.compile(training_loss) if compile else training_loss
        self._base: dict[str, Array] = {}  # what adapters adapt; no part of the state, for it never changes
        self.state = self._fresh_state(state_dict(self._template))

    def _fresh_state(self, weights: Mapping[str, Array]) -> TrainState:
        params = {name: self.ops.asarray(p, "float32") for name, p in weights.items()}
        trained = {name: p for name, p in params.items() if name in self._learned}
        if self.recipe.lora is not None:
            rest = {name: p for name, p in params.items() if name not in self._learned}
            self._base = {name: self.ops.astype(p, self.recipe.precision) for name, p in rest.items()}
            params = trained
        return TrainState(0, params, dict(params), self._optimizer.init(self.ops, trained))

    def start_from(self, weights: Mapping[str, Array]) -> None:
        """Begin with these weights of a denoiser instead of random ones; WeightsError if they are not the recipe's."""
        adapters = {} if self.recipe.lora is None else self.state.params
        self.state = self._fresh_state(state_dict(fill(self._template, {**weights, **adapters})))

    # ------------------------------------------------------------------ running

    def run(self, *, seconds: float | None = None, checkpoint_every: float = 300.0) -> Generator[Progress, None, None]:
        """Train until the recipe ends or `seconds` have passed, yielding after every step.

        A checkpoint is written every `checkpoint_every` seconds, at the end, and when the caller stops iterating.
        """
        start = saved = time.monotonic()
        first = saved_step = self.state.step
        total = self.recipe.total_steps
        if self.folder is not None:
            remove_leftovers(self.folder)
        may_save = True
        batches = prefetch(self.batch, first, total, workers=self.workers)
        try:
            for batch in batches:
                began = time.monotonic()
                state, loss = self._next(batch)
                now = time.monotonic()
                stage, local = self.recipe.locate(self.state.step)
                validation = self._validate(state) if self._held_out.due(state.step) else None
                samples, rate = batch.bucket.batch_size, stage.rate(local)
                progress = Progress(state.step, total, stage.name, loss, now - began, samples, rate, validation)
                self._log(progress)  # before the step counts: an interruption here leaves a line too many, cut below
                self.state = state
                for callback in self.callbacks:
                    callback(progress)
                if self.team.any(now - saved > checkpoint_every):
                    self.save()
                    saved, saved_step = now, self.state.step
                yield progress
                if seconds is not None and self.team.any(now - start > seconds):
                    return
        except Exception as error:  # of this process alone, which cannot save without the others
            may_save = self.team.size == 1 or isinstance(error, NonFiniteError)
            raise
        finally:
            batches.close()
            self._shorten_log()
            if may_save and self.state.step > saved_step:
                self.save()

    def fit(
        self,
        on_step_end: Callable[[Progress], object] | None = None,
        *,
        seconds: float | None = None,
        checkpoint_every: float = 300.0,
    ) -> Progress | None:
        """`run` without a loop of one's own: returns the last step's Progress, None if nothing was left to do.

        on_step_end(progress) is called after every step; it ends the run, saved, by returning False.
        """
        progress = None
        with closing(self.run(seconds=seconds, checkpoint_every=checkpoint_every)) as steps:
            for progress in steps:
                if on_step_end is not None and on_step_end(progress) is False:
                    break
        return progress

    def validate(self) -> dict[str, float]:
        """Loss of the averaged weights on the held-out batches: by timestep, and "mean".

        Raises InvalidInputError if the recipe has no [validation].
        """
        return self._validate(self.state)

    def _validate(self, state: TrainState) -> dict[str, float]:
        def loss(batch: Batch) -> float:
            objective = self._objective(self._on_device(batch), batch)
            return float(self.ops.to_numpy(objective(self.ops, state.ema)))

        return self._held_out.losses(loss)

    def batch(self, step: int) -> Batch:
        """The batch of a global step (0-based), whatever has been trained so far."""
        return make_batch(self.recipe, step, self._tokenizer, self._encode, self.files)

    def step(self, batch: Batch) -> float:
        """One optimizer step on one batch; returns the loss. Raises NonFiniteError, leaving the state as it was."""
        self.state, loss = self._next(batch)
        return loss

    def _next(self, batch: Batch) -> tuple[TrainState, float]:
        """The state after one optimizer step on the batch, and the loss."""
        ops, state = self.ops, self.state
        stage, local = self.recipe.locate(state.step)
        where = f"stage {stage.name!r}"
        trained = {name: p for name, p in state.params.items() if name in self._learned}
        mine = replace(batch, arrays=self.team.rows(batch.arrays, where))
        value, grads = self._gradients(mine, trained)
        value = self.team.mean(value)
        rate, adam = stage.rate(local), self._optimizer
        params, moments = adam.update(ops, trained, grads, state.moments, state.step + 1, rate)
        if not np.isfinite(value) or self.team.any(not is_finite(ops, moments)):
            raise NonFiniteError(
                f"the training loss is {value} or a gradient of it is not finite at step {state.step + 1}, "
                f"{where}. First bad: {self._first_bad(batch, trained)}. "
                "Lower the learning_rate or choose precision float32"
                + (f". Files of the batch: {', '.join(batch.files)}" if batch.files else "")
            )
        decay = min(self.recipe.ema_decay, (1 + state.step) / (10 + state.step))
        ema = {**state.ema, **(ema_update(ops, state.ema, params, decay) if decay else params)}
        return TrainState(state.step + 1, {**state.params, **params}, ema, moments), value

    def _gradients(self, batch: Batch, trained: Mapping[str, Array]) -> tuple[float, dict[str, Array]]:
        """Loss of a batch and its gradients, part by part where the recipe accumulates."""
        if self.recipe.accumulate == 1:
            loss, grads = self.ops.value_and_grad(self._objective(self._on_device(batch), batch), trained)
            return float(self.ops.to_numpy(loss)), grads
        value, total = 0.0, dict[str, Array]()
        for part, share in parts(batch, self.recipe.accumulate):
            loss, grads = self.ops.value_and_grad(self._objective(self._on_device(part), part), trained)
            value += share * float(self.ops.to_numpy(loss))
            total = {name: g * share + total[name] if name in total else g * share for name, g in grads.items()}
        return value, total

    def _on_device(self, batch: Batch) -> dict[str, Array]:
        """The arrays of a batch on the backend, captions encoded."""
        arrays = {name: self.ops.asarray(a) for name, a in batch.arrays.items()}
        if "ids" in arrays:
            arrays["text"] = self._text_encoder(self.ops, arrays.pop("ids"), arrays["text_mask"])
        return arrays

    def _first_bad(self, batch: Batch, trained: Mapping[str, Array]) -> str:
        def objective(places: Places) -> Objective:
            return self._objective(self._on_device(batch), batch, places)

        try:
            return first_bad(self.ops, objective, trained, batch)
        except (MemoryError, RuntimeError) as error:  # it takes more memory than the step; Torch's is a RuntimeError
            return f"unknown, as the step could not be done again ({error})"

    def _objective(self, arrays: dict[str, Array], batch: Batch, places: Places | None = None) -> Objective:
        """The loss as a function of the trained weights; with `places`, where its modules are becomes known there."""
        how: dict[str, Any] = {
            "height": float(batch.bucket.height),
            "width": float(batch.bucket.width),
            "prediction": self.recipe.prediction,
            "time_weighting": self.recipe.time_weighting,
        }
        frozen = {name: p for name, p in self.state.params.items() if name not in self._learned}

        def objective(ops: Ops, params: Mapping[str, Array]) -> Array:
            weights = {**self._base, **frozen, **params}
            cast = {name: ops.astype(p, self.recipe.precision) for name, p in weights.items()}
            denoiser = rebuild(self._template, cast)
            if places is not None:
                places.add(denoiser)
                return training_loss(ops, denoiser, arrays, **how)  # never the compiled one, which cannot be watched
            return self._loss(ops, denoiser, arrays, **how)

        return objective

    # ------------------------------------------------------------------ keeping

    def denoiser(self, *, ema: bool = True) -> STDiT3:
        """Return the present model: the averaged weights, or the raw ones; adapters are merged into them."""
        return merged(self.ops, self._adapted(ema))

    def adapters(self, *, ema: bool = True) -> dict[str, LowRank]:
        """Return the present adapters, averaged or raw, by layer; none where the weights themselves are trained."""
        return adapters_of(self._adapted(ema))

    def _adapted(self, ema: bool) -> STDiT3:
        return rebuild(self._template, {**self._base, **(self.state.ema if ema else self.state.params)})

    def save(self) -> Path | None:
        """Write a checkpoint into the folder, if there is one; of a team, which all do together, the first writes."""
        if self._checkpoints is None:
            return None
        state = self._whole_state()
        if self.folder is None:
            return None
        return save_checkpoint(self.ops, self.folder, state, recipe=self.recipe, keep=self._keep)

    def _whole_state(self) -> TrainState:
        """The state without a trace of how many processes share it."""
        count = sum(math.prod(p.shape) for name, p in self.state.params.items() if name in self._learned)
        return self.state._replace(moments=self.team.whole(self.ops, self.state.moments, count))

    def resume(self) -> int:
        """Continue from the newest whole checkpoint in the folder, if any; returns the number of finished steps.

        The run goes on as if it had never stopped, bit for bit on one machine. Damaged checkpoints are passed over
        with a CheckpointWarning, and what the log says of steps that are done again is taken out of it. Where the
        recipe is not the checkpoint's, a CheckpointWarning says in what, or an InvalidInputError if it cannot be.
        """
        if self._checkpoints is None:
            return self.state.step
        found = latest_checkpoint(self.ops, self._checkpoints, self._whole_state(), self.recipe)
        if found is not None:
            self.state = found._replace(moments=self.team.share(self.ops, found.moments))
        self._shorten_log()
        return self.state.step

    def _shorten_log(self) -> None:
        if self.folder is not None:
            log.shorten(self.folder, self.state.step)

    def _log(self, progress: Progress) -> None:
        if self.folder is None:
            return
        told = {name: value for name, value in vars(progress).items() if value is not None}
        record: dict[str, Any] = {**told, "time": time.time()}
        if self.files is not None and (skipped := self.files.skipped.news()):
            record["skipped"] = skipped
        log.append(self.folder, record)
