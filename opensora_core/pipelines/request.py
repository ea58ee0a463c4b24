"""One request for a video, checked before anything is allocated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError, LimitError
from .config import OpenSoraConfig

MAX_FRAMES, MAX_SIDE, MAX_STEPS = 100_000, 8192, 10_000
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Request:
    """What to generate: frames, pixels, frame rate, sampler settings and the seed (0 is a seed)."""

    num_frames: int
    height: int
    width: int
    fps: float
    num_inference_steps: int
    guidance_scale: float
    seed: int

    @classmethod
    def create(cls, config: OpenSoraConfig, **asked: Any) -> Request:
        """Fill what was not asked (None) from the model's configuration and check every value.

        A missing seed is drawn from the operating system; it is found on the result. Raises InvalidInputError with the
        legal range.
        """
        names = ("num_frames", "height", "width", "fps", "num_inference_steps", "guidance_scale")
        values = {name: getattr(config, name) if asked.get(name) is None else asked[name] for name in names}
        seed = asked.get("seed")
        values["seed"] = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        for name, limit in (("num_frames", MAX_FRAMES), ("height", MAX_SIDE), ("width", MAX_SIDE)):
            _check_whole(name, values[name], 1, limit)
        _check_whole("num_inference_steps", values["num_inference_steps"], 1, MAX_STEPS)
        _check_whole("seed", values["seed"], 0, 2**64 - 1)
        _check_number("fps", values["fps"], 0.01, 1000)
        _check_number("guidance_scale", values["guidance_scale"], 0, 1000)
        return cls(**values)

    def settings(self) -> dict[str, Any]:
        """As recorded on the result."""
        return dict(vars(self))


def peak_bytes(config: OpenSoraConfig, request: Request, batch: int, dtype: str) -> int:
    """Estimate of the memory one window needs beyond the weights: activations, attention logits, decoded frames.

    The estimate is an upper bound for the reference backend, which materialises the logits of spatial attention.
    """
    frames = min(request.num_frames, config.num_frames)
    latent_frames = 1 + -(-(frames - 1) // config.codec.block[0])
    rows, columns = config.codec.block[1:]
    patches = -(-request.height // (rows * config.patch_size[1])) * -(
        -request.width // (columns * config.patch_size[2])
    )
    tokens = 2 * batch * latent_frames * patches  # guidance doubles the batch
    activations = tokens * config.hidden_dim * 16
    logits = 3 * config.num_heads * tokens * max(patches, latent_frames, config.text.max_length)
    pixels = 3 * batch * request.num_frames * request.height * request.width
    refiner = tokens * config.patch_size[1] * config.patch_size[2] * config.codec.refiner_width * 12
    return BYTES[dtype] * (activations + logits) + 4 * (4 * pixels + refiner)


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


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInputError(f"{name}={value!r} must be a whole number from {low} to {high}")


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidInputError(f"{name}={value!r} must be a number from {low} to {high}")
