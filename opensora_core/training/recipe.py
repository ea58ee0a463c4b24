"""A training recipe: the stages of a progressive run, read from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from ..checks import number, one_of, patterns, switch, table, whole
from ..dit.config import STDiT3Config
from ..errors import InvalidInputError
from ..registry import DTYPES
from ..schedulers.parametrization import Prediction
from ..schedulers.timesteps import METHODS, resolution_ratio
from .lora import LoraConfig
from .optimizer import AdamW
from .presets import recipe_file
from .samples import Samples
from .stages import Bucket, Stage
from .validation import Validation

__all__ = ["Bucket", "Recipe", "Stage", "load_recipe", "recipe_from_dict"]


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
    shift_by_size: bool = False  # times the `resolution_ratio` of the clips, as Open-Sora v1.2
    timestep_method: str = "logit-normal"  # how times are drawn, see `training_timesteps`
    ema_decay: float = 0.999  # of the averaged weights; at 0 they are the weights themselves
    optimizer: AdamW = field(default_factory=AdamW)  # but for its learning rate, which the stages say
    accumulate: int = 1  # into so many parts a batch is cut, for the memory of one; their gradients are added up
    gradient_checkpointing: bool = False  # blocks are computed again for gradients, see `checkpointed`
    train: tuple[str, ...] = ("*",)  # patterns of the weights that learn, such as "temporal_blocks.*"
    frozen: tuple[str, ...] = ()  # patterns of those among them that stay as they are
    lora: LoraConfig | None = None  # adapters learn in place of weights
    validation: Validation | None = None  # the loss on held-out clips, now and then
    samples: Samples | None = None  # pictures of what was learned so far

    def __post_init__(self) -> None:
        if not self.stages:
            raise InvalidInputError("a recipe needs one or more [[stages]]")
        whole("seed", self.seed, 0)
        one_of("precision", self.precision, DTYPES)
        one_of("prediction", self.prediction, get_args(Prediction))
        number("time_weighting", self.time_weighting, 0, 2)
        number("timestep_shift", self.timestep_shift, 0.001, 1000)
        switch("shift_by_size", self.shift_by_size)
        one_of("timestep_method", self.timestep_method, METHODS)
        for bucket in (bucket for stage in self.stages for bucket in stage.buckets):
            self.shift(bucket)  # complains
        if number("ema_decay", self.ema_decay, 0, 1) == 1:
            raise InvalidInputError("ema_decay=1 would keep the first weights for ever; it must be below 1")
        whole("accumulate", self.accumulate, 1)
        switch("gradient_checkpointing", self.gradient_checkpointing)
        patterns("train", self.train)
        patterns("frozen", self.frozen)
        if self.validation is not None:
            self.validation.stage(self.stages[-1])  # complains
        if self.lora is not None and (self.train != ("*",) or self.frozen):
            raise InvalidInputError("with lora only adapters learn: their layers take the place of train and frozen")

    def locate(self, step: int) -> tuple[Stage, int]:
        """Stage of global step `step` (0-based) and the step within it; raises IndexError past the end."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError("the recipe ends before this step")

    def shift(self, bucket: Bucket) -> float:
        """How far the times of clips of this size are moved towards noise, see `shift_timesteps`."""
        if not self.shift_by_size:
            return self.timestep_shift
        return resolution_ratio(bucket.height, bucket.width, bucket.num_frames, self.timestep_shift)

    @property
    def total_steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)


def load_recipe(recipe: str | Path) -> Recipe:
    """Read a recipe from a TOML file, or the preset of a name: "embedded" or "open-sora-v1.2".

    Raises InvalidInputError for a file that cannot be read, an unknown or missing key, and a value that is not legal;
    the message says in which stage and bucket.
    """
    path = recipe_file(recipe)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # damaged TOML and UTF-8 are ValueErrors
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"the recipe {str(path)!r} cannot be read: {reason}") from error
    return recipe_from_dict(values)


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from nested dictionaries, as in the TOML file."""
    values = table("recipe", values, [f.name for f in fields(Recipe)])
    stages = tuple(_stage(i, v) for i, v in enumerate(_tables("stages", values.get("stages", ())), 1))
    denoiser = STDiT3Config.from_dict(_mapping("denoiser", values.get("denoiser", {})))
    parts: dict[str, Any] = {"denoiser": denoiser, "stages": stages}
    if values.get("optimizer") is not None:
        parts["optimizer"] = _optimizer(_mapping("optimizer", values["optimizer"]))
    if values.get("lora") is not None:
        parts["lora"] = _build("lora", LoraConfig, values["lora"])
    if values.get("validation") is not None:
        parts["validation"] = _with_buckets("validation", Validation, _mapping("validation", values["validation"]))
    if values.get("samples") is not None:
        parts["samples"] = _build("samples", Samples, values["samples"])
    recipe: Recipe = _build("recipe", Recipe, {**values, **parts})
    return recipe


def _stage(number: int, values: Any) -> Stage:
    values = _mapping(f"stage {number}", values)
    where = f"stage {number} ({values.get('name')!r:.40})"
    of_world = sorted({"world", "full_share", "free_placement"} & set(values))
    if "data" in values and of_world and not values.get("world_share"):
        raise InvalidInputError(
            f"{where} has both data and {', '.join(of_world)}: it learns from files or from a world, or from both with "
            "a world_share above 0"
        )
    stage: Stage = _with_buckets(where, Stage, values)
    return stage


def _optimizer(values: Mapping[str, Any]) -> AdamW:
    if "learning_rate" in values:
        raise InvalidInputError("optimizer has no learning_rate of its own: each of the [[stages]] has one")
    made: AdamW = _build("optimizer", AdamW, values)
    return made


def _with_buckets(where: str, cls: Any, values: Mapping[str, Any]) -> Any:
    given = _tables(f"buckets of {where}", values.get("buckets", ()))
    buckets = tuple(_build(f"bucket {i} of {where}", Bucket, v) for i, v in enumerate(given, 1))
    return _build(where, cls, {**values, "buckets": buckets})


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
