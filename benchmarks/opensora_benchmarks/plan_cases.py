"""Models and sizes whose memory is foretold and measured: from tiny ones to XL/2, every stage of a generation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.nn.init import ShapeInit
from opensora_core.serialization.writer import write_safetensors
from opensora_core.text.t5 import T5Encoder
from opensora_core.text.t5_config import T5Config
from opensora_core.vae.two_stage import TwoStageConfig, TwoStageVAE

from .published_weights import RandomWeights

TINY = STDiT3Config(hidden_size=144, depth=2, num_heads=2, caption_channels=64, model_max_length=40)
SMALL = STDiT3Config(hidden_size=576, depth=1, num_heads=8, caption_channels=512)
XL2 = STDiT3Config()
WIDE = replace(XL2, depth=1)
T5 = T5Config(num_layers=3)  # as wide as XXL
VAE = TwoStageConfig()
MODELS: dict[type, Any] = {STDiT3Config: STDiT3.create, T5Config: T5Encoder.create, TwoStageConfig: TwoStageVAE.create}


@dataclass(frozen=True)
class PlanCase:
    """One stage of a generation by v1.2, as `GenerationPlan` names it, at a size, with models of these shapes."""

    name: str
    stage: str
    backend: str
    dtype: str
    num_frames: int
    height: int
    width: int
    denoiser: STDiT3Config = TINY
    other: Any = None  # configuration of the autoencoder or text encoder at work
    given_frames: int = 0

    @property
    def size(self) -> dict[str, int]:
        """As `GenerationPlan` takes it."""
        return {name: getattr(self, name) for name in ("num_frames", "height", "width", "given_frames")}

    def write(self, folder: Path) -> Iterator[str]:
        """Write the models with random weights, each to a file; yields the paths."""
        for config in (self.denoiser, self.other):
            if config is not None:
                path = str(folder / f"{type(config).__name__}.safetensors")
                write_safetensors(path, RandomWeights.of_model(MODELS[type(config)](config, ShapeInit())))
                yield path


LONG_TEXT = replace(TINY, model_max_length=300)
CASES = (
    PlanCase("tiny", "denoiser", "numpy", "float32", 17, 96, 160),
    PlanCase("tiny", "denoiser", "numpy", "float32", 51, 240, 426),
    PlanCase("tiny", "denoiser", "torch", "float32", 51, 240, 426),
    PlanCase("tiny", "denoiser", "torch", "bfloat16", 51, 240, 426),
    PlanCase("half as wide as XL/2, 2 blocks", "denoiser", "numpy", "float32", 17, 144, 256, SMALL),
    PlanCase("half as wide as XL/2, 2 blocks", "denoiser", "torch", "float32", 17, 240, 426, SMALL),
    PlanCase("XL/2, 2 blocks", "denoiser", "torch", "bfloat16", 17, 240, 426, WIDE),
    PlanCase("XL/2", "denoiser", "torch", "bfloat16", 1, 144, 256, XL2),
    PlanCase("XL/2", "denoiser", "numpy", "float32", 1, 144, 256, XL2),
    PlanCase("T5 XXL, 3 blocks", "text encoder", "torch", "bfloat16", 1, 144, 256, LONG_TEXT, T5),
    PlanCase("T5 XXL, 3 blocks", "text encoder", "numpy", "float32", 1, 144, 256, LONG_TEXT, T5),
    PlanCase("autoencoder of v1.2", "autoencoder", "torch", "float32", 1, 144, 256, other=VAE),
    PlanCase("autoencoder of v1.2", "autoencoder", "numpy", "float32", 1, 96, 160, other=VAE),
    PlanCase("autoencoder of v1.2", "given frames", "torch", "float32", 17, 96, 160, other=VAE, given_frames=1),
)
