"""One step of learning: the loss of a batch, its gradients, and the weights, moments and average after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..checkpointed import checkpointed
from ..dit.stdit3 import STDiT3
from ..errors import NonFiniteError
from ..interpose.places import Places
from ..module import rebuild, state_dict
from ..nn.init import RandomInit
from ..ops import Array, Ops
from ..serialization.state import fill
from ..text.encoder import TextEncoder
from .blame import Objective, first_bad
from .checkpoints import TrainState
from .data import Batch, parts
from .lora import ADAPTERS, with_adapters
from .objective import training_loss
from .optimizer import ema_update, is_finite
from .parts import learned
from .recipe import Recipe
from .team import Team


class Learner:
    """Takes a `TrainState` and a batch to the next `TrainState`, as the recipe says.

    team: the processes that do so together, each on its rows of the batch.
    compile: let the backend compile the loss.
    """

    def __init__(self, ops: Ops, recipe: Recipe, text_encoder: TextEncoder, team: Team, compile: bool = False) -> None:
        self.ops, self.recipe, self.team = ops, recipe, team
        self._text_encoder = text_encoder
        init = RandomInit(recipe.seed)
        self._template = STDiT3.create(recipe.denoiser, init)
        train = recipe.train
        if recipe.lora is not None:
            self._template, train = with_adapters(self._template, recipe.lora, init), ADAPTERS
        self._learned = learned(train, recipe.frozen, list(state_dict(self._template)))
        self._optimizer = team.optimizer(recipe.optimizer)
        self._loss = ops.compile(training_loss) if compile else training_loss
        self._base: dict[str, Array] = {}  # what adapters adapt; no part of the state, for it never changes

    # ------------------------------------------------------------------ states

    def random_state(self) -> TrainState:
        """The state before the first step, with the random weights of the recipe's seed."""
        return self._first_state(state_dict(self._template))

    def state_from(self, weights: Mapping[str, Array], adapters: Mapping[str, Array]) -> TrainState:
        """The state before the first step with these weights of a denoiser, and adapters where the recipe has [lora].

        Raises WeightsError for weights that are not those of the recipe's denoiser.
        """
        adapted = {} if self.recipe.lora is None else adapters
        return self._first_state(state_dict(fill(self._template, {**weights, **adapted})))

    def _first_state(self, weights: Mapping[str, Array]) -> TrainState:
        params = {name: self.ops.asarray(p, "float32") for name, p in weights.items()}
        trained = self._trained(params)
        if self.recipe.lora is not None:
            rest = {name: p for name, p in params.items() if name not in self._learned}
            self._base = {name: self.ops.astype(p, self.recipe.precision) for name, p in rest.items()}
            params = trained
        return TrainState(0, params, dict(params), self._optimizer.init(self.ops, trained))

    def _trained(self, params: Mapping[str, Array]) -> dict[str, Array]:
        return {name: p for name, p in params.items() if name in self._learned}

    def whole(self, state: TrainState) -> TrainState:
        """The state without a trace of how many processes share it. Called by all."""
        count = sum(math.prod(p.shape) for p in self._trained(state.params).values())
        return state._replace(moments=self.team.whole(self.ops, state.moments, count))

    def share(self, whole: TrainState) -> TrainState:
        """What this process holds of the state of all."""
        return whole._replace(moments=self.team.share(self.ops, whole.moments))

    def denoiser(self, weights: Mapping[str, Array]) -> STDiT3:
        """The model of a state's weights or of their average, its adapters beside what they adapt."""
        return rebuild(self._template, {**self._base, **weights})

    # ------------------------------------------------------------------ a step

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, float]:
        """The state after one optimizer step on the batch, and the loss. Called by all with the same batch.

        Raises NonFiniteError naming the step, the first tensor that is not finite and the batch's files.
        """
        ops = self.ops
        stage, local = self.recipe.locate(state.step)
        where = f"stage {stage.name!r}"
        trained = self._trained(state.params)
        mine = replace(batch, arrays=self.team.rows(batch.arrays, where))
        value, grads = self.gradients(state, mine)
        value = self.team.mean(value)
        rate = stage.rate(local)
        params, moments = self._optimizer.update(ops, trained, grads, state.moments, state.step + 1, rate)
        if not np.isfinite(value) or self.team.any(not is_finite(ops, moments)):
            raise self._not_finite(state, batch, value, where)
        decay = min(self.recipe.ema_decay, (1 + state.step) / (10 + state.step))
        ema = {**state.ema, **(ema_update(ops, state.ema, params, decay) if decay else params)}
        return TrainState(state.step + 1, {**state.params, **params}, ema, moments), value

    def held_out_loss(self, state: TrainState, batch: Batch) -> float:
        """The loss of the averaged weights on a batch."""
        return float(self.ops.to_numpy(self._objective(state, batch)(self.ops, state.ema)))

    def gradients(self, state: TrainState, batch: Batch) -> tuple[float, dict[str, Array]]:
        """Loss of a batch and its gradients by the weights that learn, part by part where the recipe accumulates."""
        trained = self._trained(state.params)
        if self.recipe.accumulate == 1:
            loss, grads = self.ops.value_and_grad(self._objective(state, batch), trained)
            return float(self.ops.to_numpy(loss)), grads
        value, total = 0.0, dict[str, Array]()
        for part, share in parts(batch, self.recipe.accumulate):
            loss, grads = self.ops.value_and_grad(self._objective(state, part), trained)
            value += share * float(self.ops.to_numpy(loss))
            total = {name: g * share + total[name] if name in total else g * share for name, g in grads.items()}
        return value, total

    def _objective(self, state: TrainState, batch: Batch, places: Places | None = None) -> Objective:
        """The loss as a function of the trained weights; with `places`, where its modules are becomes known there."""
        arrays = self._on_device(batch)
        how: dict[str, Any] = {
            "height": float(batch.bucket.height),
            "width": float(batch.bucket.width),
            "prediction": self.recipe.prediction,
            "time_weighting": self.recipe.time_weighting,
        }
        frozen = {name: p for name, p in state.params.items() if name not in self._learned}

        def objective(ops: Ops, params: Mapping[str, Array]) -> Array:
            weights = {**self._base, **frozen, **params}
            cast = {name: ops.astype(p, self.recipe.precision) for name, p in weights.items()}
            denoiser = rebuild(self._template, cast)
            if places is not None:
                places.add(denoiser)
            loss = self._loss if places is None else training_loss  # the compiled one cannot be watched
            return loss(ops, checkpointed(denoiser) if self.recipe.gradient_checkpointing else denoiser, arrays, **how)

        return objective

    def _on_device(self, batch: Batch) -> dict[str, Array]:
        """The arrays of a batch on the backend, captions encoded."""
        arrays = {name: self.ops.asarray(a) for name, a in batch.arrays.items()}
        if "ids" in arrays:
            arrays["text"] = self._text_encoder(self.ops, arrays.pop("ids"), arrays["text_mask"])
        return arrays

    # ------------------------------------------------------------------ what goes wrong

    def _not_finite(self, state: TrainState, batch: Batch, loss: float, where: str) -> NonFiniteError:
        wider = "" if self.recipe.precision in ("float32", "float64") else " or choose precision float32"
        files = f". Files of the batch: {', '.join(batch.files)}" if batch.files else ""
        return NonFiniteError(
            f"the training loss is {loss} or a gradient of it is not finite at step {state.step + 1}, {where}. "
            f"First bad: {self._first_bad(state, batch)}. Lower the learning_rate{wider}. "
            f"The weights of step {state.step} are kept{files}"
        )

    def _first_bad(self, state: TrainState, batch: Batch) -> str:
        def objective(places: Places) -> Objective:
            return self._objective(state, batch, places)

        try:
            return first_bad(self.ops, objective, self._trained(state.params), batch)
        except (MemoryError, RuntimeError) as error:  # it takes more memory than the step; Torch's is a RuntimeError
            return f"unknown, as the step could not be done again ({error})"
