"""Configuration of STDiT3 under the names of the published `config.json` files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Self

from ..errors import InvalidInputError

PUBLISHED_ONLY = {  # fields of official config.json files that change no number here
    "input_size", "enable_flash_attn", "enable_layernorm_kernel", "enable_sequence_parallelism",
    "only_train_temporal", "freeze_y_embedder", "force_huggingface", "model_type", "architectures",
    "torch_dtype", "transformers_version", "_name_or_path", "auto_map",
}  # fmt: skip

_WHOLE = (
    "input_sq_size", "in_channels", "hidden_size", "depth", "num_heads", "caption_channels", "model_max_length",
)  # fmt: skip


@dataclass(frozen=True)
class STDiT3Config:
    """Shape of an STDiT3; the defaults are STDiT3-XL/2 of Open-Sora v1.2.

    input_sq_size: side in pixels of the square whose position grid is unscaled.
    patch_size: (time, height, width) in latent cells. caption_channels, model_max_length: width and length of the text.
    pred_sigma: twice the output channels, of which rectified flow uses the first half.
    frame_time_fps: extension, None in every official release: each frame gets an absolute sinusoidal embedding of its
    time, index · frame_time_fps / fps, which lets a small model tell frames apart.
    pooled_caption: extension, as in v2.0: the mean text token is added to the timestep vector.
    """

    input_sq_size: int = 512
    in_channels: int = 4
    patch_size: tuple[int, int, int] = (1, 2, 2)
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    class_dropout_prob: float = 0.1
    pred_sigma: bool = True
    drop_path: float = 0.0
    caption_channels: int = 4096
    model_max_length: int = 300
    qk_norm: bool = True
    skip_y_embedder: bool = False
    frame_time_fps: float | None = None
    pooled_caption: bool = False

    def __post_init__(self) -> None:
        for name in _WHOLE:
            _require(_whole(getattr(self, name)), self, name, "a whole number of at least 1")
        patch = self.patch_size
        three = isinstance(patch, list | tuple) and len(patch) == 3 and all(_whole(n) for n in patch)
        _require(three, self, "patch_size", "three sizes of at least 1: time, height, width")
        object.__setattr__(self, "patch_size", tuple(patch))
        _require(_within(self.mlp_ratio, 1e-6, math.inf), self, "mlp_ratio", "a number above 0")
        for name in ("class_dropout_prob", "drop_path"):
            _require(_within(getattr(self, name), 0, 1), self, name, "a number between 0 and 1")
        rate = self.frame_time_fps
        _require(rate is None or _within(rate, 1e-6, math.inf), self, "frame_time_fps", "a number above 0, or None")
        fits = self.hidden_size % self.num_heads == 0 and self.head_dim % 2 == 0 and self.hidden_size % 4 == 0
        multiple = f"a multiple of 4 and of num_heads={self.num_heads}"
        _require(fits, self, "hidden_size", f"{multiple}, with an even size per head for the rotary embedding")

    @property
    def head_dim(self) -> int:
        """Channels per attention head."""
        return self.hidden_size // self.num_heads

    @property
    def out_channels(self) -> int:
        """Channels of the model's output."""
        return self.in_channels * (2 if self.pred_sigma else 1)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "patch_size": list(self.patch_size)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a published config.json or `to_dict`; a field that is not known is an error, not ignored."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known - PUBLISHED_ONLY)
        if unknown:
            raise InvalidInputError(
                f"unknown {cls.__name__.removesuffix('Config')} config fields {unknown}; known: {sorted(known)}"
            )
        return cls(**{k: v for k, v in values.items() if k in known})


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 1


def _within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, Real) and low <= float(value) <= high


def _require(fits: bool, config: STDiT3Config, name: str, expectation: str) -> None:
    if not fits:
        raise InvalidInputError(f"STDiT3 {name}={getattr(config, name)!r} must be {expectation}")
