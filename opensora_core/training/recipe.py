"""A training recipe: the stages of a progressive run, read from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from ..checks import number, one_of, table, whole
from ..dit.config import STDiT3Config
from ..errors import InvalidInputError
from ..registry import DTYPES
from ..schedulers.parametrization import Prediction
from ..synthetic.world import EASY, FULL, World
from .masks import check_ratios

WORLDS = {"easy": EASY, "full": FULL}


@dataclass(frozen=True)
class Bucket:
    """Clips of one length and size that form a batch: frames, pixels, samples, share of the steps, frame rates.

    Of any length and size: what the autoencoder's blocks lack is filled by repeating the last frame and the edges.
    """

    num_frames: int
    height: int
    width: int
    batch_size: int
    weight: float = 1.0
    fps: tuple[float, ...] = (8.0,)

    def __post_init__(self) -> None:
        for name in ("num_frames", "height", "width", "batch_size"):
            whole(name, getattr(self, name), 1)
        number("weight", self.weight, 0, above=True)
        if not isinstance(self.fps, tuple) or not self.fps:
            raise InvalidInputError(f"fps={self.fps!r} must be a list of one or more frame rates")
        for rate in self.fps:
            number("fps", rate, 0.01, 1000)


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
        if not isinstance(self.name, str):
            raise InvalidInputError(f"name={self.name!r} must be text")
        whole("steps", self.steps, 1)
        number("learning_rate", self.learning_rate, 0, above=True)
        whole("warmup_steps", self.warmup_steps, 0)
        number("final_rate", self.final_rate, 0)
        one_of("world", self.world, list(WORLDS))
        number("free_placement", self.free_placement, 0, 1)
        number("caption_dropout", self.caption_dropout, 0, 1)
        check_ratios(self.mask_ratios)
        if not self.buckets:
            raise InvalidInputError("a stage needs one or more [[stages.buckets]]")

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
    time_weighting: float = 0.0  # the velocity's squared error counts (t/1000) to this power, see `sample_losses`
    timestep_shift: float = 1.0  # above 1 spends more of the training on high noise, see `shift_timesteps`
    ema_decay: float = 0.999
    frozen: tuple[str, ...] = ("rope.freqs",)  # weights that stay as they are

    def __post_init__(self) -> None:
        if not self.stages:
            raise InvalidInputError("a recipe needs one or more [[stages]]")
        whole("seed", self.seed, 0)
        one_of("precision", self.precision, DTYPES)
        one_of("prediction", self.prediction, get_args(Prediction))
        number("time_weighting", self.time_weighting, 0, 2)
        number("timestep_shift", self.timestep_shift, 0.001, 1000)
        if number("ema_decay", self.ema_decay, 0, 1) == 1:
            raise InvalidInputError("ema_decay=1 would keep the first weights for ever; it must be below 1")
        if not isinstance(self.frozen, tuple) or not all(isinstance(name, str) for name in self.frozen):
            raise InvalidInputError(f"frozen={self.frozen!r} must be a list of weight names")

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
    """Read a recipe from TOML.

    Raises InvalidInputError for a file that cannot be read, an unknown or missing key, and a value that is not legal;
    the message says in which stage and bucket.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # damaged TOML and UTF-8 are ValueErrors
        raise InvalidInputError(f"the recipe {str(path)!r} cannot be read: {error}") from error
    return recipe_from_dict(values)


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from nested dictionaries, as in the TOML file."""
    values = table("recipe", values, [f.name for f in fields(Recipe)])
    stages = tuple(_stage(i, v) for i, v in enumerate(_tables("stages", values.get("stages", ())), 1))
    denoiser = STDiT3Config.from_dict(_mapping("denoiser", values.get("denoiser", {})))
    recipe: Recipe = _build("recipe", Recipe, {**values, "denoiser": denoiser, "stages": stages})
    return recipe


def _stage(number: int, values: Any) -> Stage:
    values = _mapping(f"stage {number}", values)
    where = f"stage {number} ({values.get('name')!r:.40})"
    given = _tables(f"buckets of {where}", values.get("buckets", ()))
    buckets = tuple(_build(f"bucket {i} of {where}", Bucket, v) for i, v in enumerate(given, 1))
    stage: Stage = _build(where, Stage, {**values, "buckets": buckets})
    return stage


def _build(where: str, cls: Any, values: Any) -> Any:
    values = table(where, values, [f.name for f in fields(cls)])
    required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in values]:
        raise InvalidInputError(f"{where} lacks {', '.join(missing)}")
    try:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from error


def _tables(name: str, values: Any) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise InvalidInputError(f"{name} must be a list of tables, [[...]] in TOML, not {type(values).__name__}")
    return list(values)


def _mapping(name: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"{name} must be a table, [{name}] in TOML, not {type(values).__name__}")
    return values
