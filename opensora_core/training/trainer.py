"""The trainer: steps through a recipe on any backend, logs, and continues from its own checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from pathlib import Path

from ..checks import whole
from ..dit.stdit3 import STDiT3
from ..errors import InvalidInputError, NonFiniteError
from ..nn.lora import LowRank, adapters_of, merged
from ..ops import Array, Ops
from ..text.encoder import TextEncoder
from ..text.tokenizer import WordTokenizer
from .checkpoints import KEEP, TrainState
from .data import Batch, Encode, make_batch, prefetch
from .datasets.files import TrainingFiles
from .learner import Learner
from .log import Progress
from .recipe import Recipe
from .run_folder import RunFolder
from .team import Team
from .validation import HeldOut

__all__ = ["Progress", "Trainer"]


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
        self.files, self.workers = files, whole("workers", workers, 1)
        if files is None and any(stage.data is not None for stage in recipe.stages):
            raise InvalidInputError("the recipe learns from files: open them with TrainingFiles, or use make_trainer")
        self._tokenizer, self._encode = tokenizer, encode
        self._learner = Learner(ops, recipe, text_encoder, self.team, compile)
        self._kept = RunFolder(folder, self._learner, whole("keep", keep, 1))
        self._held_out = HeldOut(
            recipe, lambda of, i: make_batch(of, i, tokenizer, encode, held_out_files, "heldout"), self.team
        )
        self.callbacks: list[Callable[[Progress], object]] = []
        self.state = self._learner.random_state()

    @property
    def folder(self) -> Path | None:
        """Where this process writes; None if it keeps nothing, as all but the first process of a team."""
        return self._kept.write_to

    def start_from(self, weights: Mapping[str, Array]) -> None:
        """Begin with these weights of a denoiser instead of random ones; WeightsError if they are not the recipe's."""
        self.state = self._learner.state_from(weights, self.state.params)

    # ------------------------------------------------------------------ running

    def run(self, *, seconds: float | None = None, checkpoint_every: float = 300.0) -> Generator[Progress, None, None]:
        """Train until the recipe ends or `seconds` have passed, yielding after every step.

        A checkpoint is written every `checkpoint_every` seconds, at the end, and when the caller stops iterating.
        """
        start = saved = time.monotonic()
        saved_step = self.state.step
        self._kept.tidy()
        may_save = True
        batches = prefetch(self.batch, self.state.step, self.recipe.total_steps, workers=self.workers)
        try:
            for batch in batches:
                progress = self._advance(batch)
                if self.team.any(time.monotonic() - saved > checkpoint_every):
                    self.save()
                    saved, saved_step = time.monotonic(), self.state.step
                yield progress
                if seconds is not None and self.team.any(time.monotonic() - start > seconds):
                    return
        except Exception as error:  # of this process alone, which cannot save without the others
            may_save = self.team.size == 1 or isinstance(error, NonFiniteError)
            raise
        finally:
            batches.close()
            self._kept.shorten_log(self.state.step)
            if may_save and self.state.step > saved_step:
                self.save()

    def _advance(self, batch: Batch) -> Progress:
        """One step of a run, with all that is told about it."""
        began = time.monotonic()
        stage, local = self.recipe.locate(self.state.step)
        state, loss = self._learner.step(self.state, batch)
        seconds = time.monotonic() - began
        validation = self._validate(state) if self._held_out.due(state.step) else None
        samples, rate = batch.bucket.batch_size, stage.rate(local)
        total = self.recipe.total_steps
        progress = Progress(state.step, total, stage.name, loss, seconds, samples, rate, validation)
        self._kept.log(progress, self.files)  # before the step counts: an interruption leaves a line too many, cut then
        self.state = state
        for callback in self.callbacks:
            callback(progress)
        return progress

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

        Of a team all call it, and share the work. Raises InvalidInputError if the recipe has no [validation].
        """
        return self._validate(self.state)

    def _validate(self, state: TrainState) -> dict[str, float]:
        return self._held_out.losses(lambda batch: self._learner.held_out_loss(state, batch))

    def batch(self, step: int) -> Batch:
        """The batch of a global step (0-based), whatever has been trained so far."""
        return make_batch(self.recipe, step, self._tokenizer, self._encode, self.files)

    def unknown_words(self) -> list[str]:
        """The words of the files' captions that the vocabulary lacks: all are read as the same one, "unknown"."""
        captions = set() if self.files is None else self.files.captions
        return sorted({word for caption in captions for word in self._tokenizer.unknown_words(caption)})

    def step(self, batch: Batch) -> float:
        """One optimizer step on one batch; returns the loss. Raises NonFiniteError, leaving the state as it was."""
        self.state, loss = self._learner.step(self.state, batch)
        return loss

    # ------------------------------------------------------------------ keeping

    def denoiser(self, *, ema: bool = True) -> STDiT3:
        """Return the present model: the averaged weights, or the raw ones; adapters are merged into them."""
        return merged(self.ops, self._adapted(ema))

    def adapters(self, *, ema: bool = True) -> dict[str, LowRank]:
        """Return the present adapters, averaged or raw, by layer; none where the weights themselves are trained."""
        return adapters_of(self._adapted(ema))

    def _adapted(self, ema: bool) -> STDiT3:
        return self._learner.denoiser(self.state.ema if ema else self.state.params)

    def save(self) -> Path | None:
        """Write a checkpoint into the folder, if there is one; of a team, which all do together, the first writes."""
        return self._kept.save(self.state)

    def resume(self) -> int:
        """Continue from the newest whole checkpoint in the folder, if any; returns the number of finished steps.

        The run goes on as if it had never stopped, bit for bit on one machine. Damaged checkpoints are passed over
        with a CheckpointWarning, and what the log says of steps that are done again is taken out of it. Where the
        recipe is not the checkpoint's, a CheckpointWarning says in what, or an InvalidInputError if it cannot be.
        """
        self.state = self._kept.newest(self.state) or self.state
        self._kept.shorten_log(self.state.step)
        return self.state.step
