"""A training recipe: the stages of a progressive run, read from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..dit.config import STDiT3Config
from ..errors import InvalidInputError
from ..schedulers.parametrization import Prediction
from ..synthetic.world import EASY, FULL, World
from .masks import check_ratios

WORLDS = {"easy": EASY, "full": FULL}


@dataclass(frozen=True)
class Bucket:
    """Clips of one length and size that form a batch: frames, pixels, samples, share of the steps, frame rates."""

    num_frames: int
    height: int
    width: int
    batch_size: int
    weight: float = 1.0
    fps: tuple[float, ...] = (8.0,)


@dataclass(frozen=True)
class Stage:
    """One stage: how long, on which clips, at which rate. `final_rate` is the share of the rate left at the end."""

    name: str
    steps: int
    buckets: tuple[Bucket, ...]
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_rate: float = 1.0
    world: str = "easy"
    free_placement: float = 0.0
    caption_dropout: float = 0.1
    mask_ratios: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_ratios(self.mask_ratios)
        if self.world not in WORLDS:
            raise InvalidInputError(f"stage {self.name!r}: world {self.world!r} is not one of {', '.join(WORLDS)}")
        if self.steps < 1 or not self.buckets:
            raise InvalidInputError(f"stage {self.name!r} needs at least one step and one bucket")

    def scenes(self) -> World:
        """Return the world this stage draws from."""
        return replace(WORLDS[self.world], free_placement=self.free_placement)

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (0-based within the stage): linear warm-up, then linear decay."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return self.learning_rate * warm * (1 - (1 - self.final_rate) * step / self.steps)


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a training run, besides the backend."""

    denoiser: STDiT3Config
    stages: tuple[Stage, ...]
    seed: int = 0
    precision: str = "float32"  # of the network's arithmetic; master weights are always float32
    prediction: Prediction = "velocity"
    timestep_shift: float = 1.0  # above 1 spends more of the training on high noise, see `shift_timesteps`
    ema_decay: float = 0.999
    frozen: tuple[str, ...] = ("rope.freqs",)

    def locate(self, step: int) -> tuple[Stage, int]:
        """Stage of global step `step` (0-based) and the step within it; raises IndexError past the end."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError("the recipe ends before this step")

    @property
    def total_steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from TOML; unknown keys are errors that list the known ones."""
    try:
        values = tomllib.loads(Path(path).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"the recipe {str(path)!r} cannot be read: {error}") from error
    return recipe_from_dict(values)


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from nested dictionaries, as in the TOML file."""
    values = dict(values)
    stages = tuple(_stage(s) for s in values.pop("stages", ()))
    denoiser = STDiT3Config.from_dict(values.pop("denoiser", {}))
    recipe: Recipe = _build(Recipe, {**values, "denoiser": denoiser, "stages": stages})
    return recipe


def _stage(values: Mapping[str, Any]) -> Stage:
    buckets = tuple(_build(Bucket, b) for b in values.get("buckets", ()))
    stage: Stage = _build(Stage, {**values, "buckets": buckets})
    return stage


def _build(cls: Any, values: Mapping[str, Any]) -> Any:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidInputError(f"unknown {cls.__name__.lower()} settings {unknown}; known: {sorted(known)}")
    try:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as error:
        raise InvalidInputError(f"{cls.__name__.lower()}: {error}") from error
