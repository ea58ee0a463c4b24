"""One request for a video, checked before anything is allocated."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..checks import number, whole
from ..dit.step_cache import StepCache
from ..errors import InvalidInputError, LimitError
from ..releases.sampler import FLOW_SAMPLERS, check_sampler
from .config import NUMBERS, WHOLE, OpenSoraConfig

SMALL_THINGS = 2**18  # bytes of a generation that do not grow with its size
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Request:
    """What to generate: frames, pixels, frame rate, sampler settings and the seed (0 is a seed).

    step_cache: the blocks are computed in every so many steps only (`StepCache`); 1 computes all.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    num_inference_steps: int
    guidance_scale: float
    seed: int
    step_cache: int

    @classmethod
    def create(cls, config: OpenSoraConfig, **asked: Any) -> Request:
        """Fill what was not asked (None) from the model's configuration and check every name and value.

        A missing seed is drawn from the operating system; it is found on the result. Raises InvalidInputError with the
        legal range. sampler: "rflow", the only one there is.
        """
        if (sampler := asked.pop("sampler", None)) is not None:
            check_sampler(sampler, FLOW_SAMPLERS)
        if unknown := sorted(set(asked) - set(OPTIONS)):
            raise InvalidInputError(f"unknown options {unknown}; known: {', '.join(OPTIONS)}")
        numeric = ("num_frames", "height", "width", "num_inference_steps", "fps", "guidance_scale")
        return cls(**filled(config, numeric, asked), seed=seed_of(asked), step_cache=step_cache_of(asked))

    def settings(self) -> dict[str, Any]:
        """As recorded on the result; step_cache where it is on."""
        return without_defaults(vars(self))


def filled(defaults: Any, names: Sequence[str], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The named numbers as asked, or where that is None as in `defaults`, each within its legal range."""
    values: dict[str, Any] = {}
    for name in names:
        value = getattr(defaults, name) if asked.get(name) is None else asked[name]
        bounds = NUMBERS.get(name, NUMBERS["guidance_scale"])  # of every scale of guidance
        values[name] = whole(name, value, *WHOLE[name]) if name in WHOLE else number(name, value, *bounds)
    return values


def seed_of(asked: Mapping[str, Any]) -> int:
    """The seed asked for; drawn from the operating system where it is None."""
    seed = asked.get("seed")
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    return whole("seed", seed, 0, 2**64 - 1)


def without_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings but for those that are None, and step_cache where it is off."""
    return {name: value for name, value in settings.items() if value is not None and (name, value) != ("step_cache", 1)}


def step_cache_of(asked: Mapping[str, Any]) -> int:
    """The interval between computed steps that is asked for; 1 where it is None."""
    every = asked.get("step_cache")
    return whole("step_cache", 1 if every is None else every, *WHOLE["num_inference_steps"])


def cache_of(request: Any) -> StepCache | None:
    """The step cache of one generation; None where all steps are computed."""
    return None if request.step_cache == 1 else StepCache(request.step_cache, request.num_inference_steps)


def approximation(cache: StepCache | None) -> dict[str, int]:
    """What a result says of steps that were not computed, over all its windows; nothing without a cache."""
    return {} if cache is None else {"approximated_steps": cache.reused}


OPTIONS = tuple(field.name for field in fields(Request))


def peak_bytes(config: OpenSoraConfig, request: Request, batch: int, dtype: str) -> int:
    """Estimate of the memory one window needs beyond the weights: activations, attention logits, decoded frames.

    The estimate is an upper bound for the reference backend, which materialises the logits of spatial attention.
    """
    frames = min(request.num_frames, config.num_frames)
    group, rows, columns = config.codec.block
    latent_frames = 1 + -(-(frames - 1) // group)
    patches = -(-request.height // (rows * config.patch_size[1])) * -(
        -request.width // (columns * config.patch_size[2])
    )
    tokens = 2 * batch * latent_frames * patches  # guidance doubles the batch
    cached = 0 if request.step_cache == 1 else 4  # two residuals, and what the next ones are made of
    activations = tokens * config.hidden_dim * (16 + cached)
    logits = 3 * config.num_heads * tokens * max(patches, latent_frames, config.text.max_length)
    cells = patches * config.patch_size[1] * config.patch_size[2]
    decoded = batch * latent_frames * cells * config.codec.block_size  # the first latent holds a whole group, too
    result = batch * request.num_frames * request.height * request.width * 3
    refiner = batch * latent_frames * cells * config.codec.refiner_width * 24
    return BYTES[dtype] * (activations + logits) + 4 * (4 * decoded + refiner) + 2 * result + SMALL_THINGS


def available_bytes() -> int | None:
    """Free memory of this machine, None where it cannot be told."""
    try:
        with open("/proc/meminfo") as info:
            for line in info:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def check_memory(needed: int, request: Request, available: int | None) -> None:
    """Refuse a request that cannot fit, before anything is allocated."""
    if available is not None and needed > available:
        raise LimitError(
            f"{request.num_frames} frames of {request.width}x{request.height} need about {needed / 2**30:.1f} GiB, "
            f"but {available / 2**30:.1f} GiB are available; ask for a smaller size or fewer frames"
        )
