"""Configuration of a whole text-to-video model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args

from ..checks import number, one_of, table, whole
from ..dit.config import STDiT3Config
from ..errors import InvalidInputError
from ..schedulers.parametrization import Prediction
from ..schedulers.timesteps import NUM_TIMESTEPS
from ..synthetic.prompts import vocabulary
from ..text.encoder import TextEncoderConfig
from ..text.tokenizer import SPECIAL_WORDS
from ..vae.block_codec import BlockCodecConfig

ARCHITECTURES = ("stdit3",)
WHOLE = {
    "num_frames": (1, 100_000), "height": (1, 8192), "width": (1, 8192), "num_inference_steps": (1, 10_000),
    "hidden_dim": (1, 65_536), "num_layers": (1, 1000), "num_heads": (1, 1000),
}  # fmt: skip
NUMBERS = {"fps": (0.01, 1000.0), "guidance_scale": (0.0, 1000.0), "timestep_shift": (0.001, 1000.0)}
INTERVALS = {"guidance_interval": NUM_TIMESTEPS, "still_levels": 255}

_ALIKE = (  # fields that have the same name in STDiT3Config
    "num_heads", "patch_size", "qk_norm", "pred_sigma", "input_sq_size", "frame_time_fps", "pooled_caption",
)  # fmt: skip


@dataclass(frozen=True)
class OpenSoraConfig:
    """What an OpenSora model is and how it generates unless told otherwise.

    architecture: of the denoiser. hidden_dim, num_layers, num_heads: its width, pairs of spatial and temporal blocks,
    and attention heads. num_frames, height, width, fps: of a generated video; num_frames is also the length of one
    window, longer videos are generated window by window. num_inference_steps, guidance_scale: of the sampler.
    guidance_interval: lowest and highest timestep that is guided (Kynkäänniemi et al. 2024); the others cost half.
    still_levels: how much a pixel must change after given frames, in levels of 255, to be redrawn a little and to be
    redrawn fully (`keep_still`); None redraws all.
    patch_size, qk_norm, pred_sigma, input_sq_size, frame_time_fps, pooled_caption: see STDiT3Config.
    prediction: what the denoiser puts out. timestep_shift: how far the sampler moves its steps towards noise
    (`shift_timesteps`). text: the word-level text encoder; vocabulary: the words it knows.
    codec: the autoencoder.
    """

    architecture: str = "stdit3"
    num_frames: int = 16
    hidden_dim: int = 1152
    num_layers: int = 28
    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    guidance_interval: tuple[float, float] = (0.0, 1000.0)
    still_levels: tuple[float, float] | None = None
    num_heads: int = 16
    height: int = 64
    width: int = 64
    fps: float = 8.0
    patch_size: tuple[int, int, int] = (1, 2, 2)
    qk_norm: bool = True
    pred_sigma: bool = False
    input_sq_size: int = 512
    frame_time_fps: float | None = None
    pooled_caption: bool = False
    prediction: Prediction = "velocity"
    timestep_shift: float = 1.0
    vocabulary: tuple[str, ...] = field(default_factory=vocabulary, repr=False)
    text: TextEncoderConfig = field(default_factory=lambda: TextEncoderConfig(len(SPECIAL_WORDS) + len(vocabulary())))
    codec: BlockCodecConfig = field(default_factory=BlockCodecConfig)

    def __post_init__(self) -> None:
        for name in ("vocabulary", "patch_size"):
            if not isinstance(getattr(self, name), list | tuple):
                raise InvalidInputError(f"{name}={getattr(self, name)!r} must be a list")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, most in INTERVALS.items():
            object.__setattr__(self, name, _interval(name, getattr(self, name), most))
        one_of("architecture", self.architecture, ARCHITECTURES)
        one_of("prediction", self.prediction, get_args(Prediction))
        for name, legal in WHOLE.items():
            whole(name, getattr(self, name), *legal)
        for name, bounds in NUMBERS.items():
            number(name, getattr(self, name), *bounds)
        if self.text.vocabulary != len(SPECIAL_WORDS) + len(self.vocabulary):
            raise InvalidInputError(
                f"text.vocabulary={self.text.vocabulary} must be the {len(self.vocabulary)} words of the vocabulary "
                f"and {len(SPECIAL_WORDS)} special ones"
            )
        _ = self.denoiser  # validates the rest

    @property
    def denoiser(self) -> STDiT3Config:
        """Configuration of the denoiser."""
        return STDiT3Config(
            hidden_size=self.hidden_dim,
            depth=self.num_layers,
            in_channels=self.codec.latent_channels,
            caption_channels=self.text.hidden_size,
            model_max_length=self.text.max_length,
            **{name: getattr(self, name) for name in _ALIKE},
        )

    def around(self, denoiser: STDiT3Config, **changes: Any) -> OpenSoraConfig:
        """Return the configuration with what it says of its denoiser taken from `denoiser`, and other changes."""
        taken = {name: getattr(denoiser, name) for name in _ALIKE}
        return replace(self, hidden_dim=denoiser.hidden_size, num_layers=denoiser.depth, **taken, **changes)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> OpenSoraConfig:
        """A named configuration: "xl-2" (the seed's defaults, 1.1 billion parameters), "embedded" or "nano" (tests)."""
        if name not in PRESETS:
            raise InvalidInputError(f"preset {name!r} is not one of {', '.join(PRESETS)}")
        values: dict[str, Any] = PRESETS[name]
        return replace(cls(**values), **changes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        pairs = {name: list(getattr(self, name)) for name in INTERVALS if getattr(self, name) is not None}
        lists = {"vocabulary": list(self.vocabulary), "patch_size": list(self.patch_size), **pairs}
        return {**asdict(self), **lists, "text": self.text.to_dict(), "codec": self.codec.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OpenSoraConfig:
        """From `to_dict`; a field that is not known is an error, not ignored."""
        values = table("model config", values, [f.name for f in fields(cls)])
        nested: dict[str, Any] = {"text": TextEncoderConfig.from_dict, "codec": BlockCodecConfig.from_dict}
        read: dict[str, Any] = {k: nested[k](v) if k in nested else v for k, v in values.items()}
        return cls(**read)


def _interval(name: str, bounds: Any, most: float) -> tuple[float, float] | None:
    if bounds is None and name == "still_levels":
        return None
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise InvalidInputError(f"{name}={bounds!r} must be two numbers from 0 to {most}, the lowest and the highest")
    low, high = (number(name, bound, 0, most) for bound in bounds)
    if low > high:
        raise InvalidInputError(f"{name}={bounds!r} must not end before it begins")
    return low, high


PRESETS: dict[str, dict[str, Any]] = {
    "xl-2": {},
    "embedded": {
        "num_frames": 17, "hidden_dim": 128, "num_layers": 4, "num_heads": 4, "num_inference_steps": 30,
        "guidance_scale": 3.0, "input_sq_size": 64, "frame_time_fps": 8.0, "pooled_caption": True,
        "prediction": "sample", "still_levels": (12.0, 48.0),
    },
    "nano": {
        "num_frames": 5, "hidden_dim": 16, "num_layers": 1, "num_heads": 2, "num_inference_steps": 2,
        "height": 16, "width": 16, "input_sq_size": 64, "frame_time_fps": 8.0, "pooled_caption": True,
        "codec": BlockCodecConfig(latent_channels=4),
    },
}  # fmt: skip
