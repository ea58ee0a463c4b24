"""Models small enough to generate in a moment, in which every weight counts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from opensora_core.pipelines.config import OpenSoraConfig
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.text.encoder import TextEncoderConfig
from opensora_core.text.tokenizer import SPECIAL_WORDS

WORDS = len(OpenSoraConfig.preset("nano").vocabulary)
NANO = OpenSoraConfig.preset(
    "nano", text=TextEncoderConfig(WORDS + len(SPECIAL_WORDS), max_length=12, hidden_size=16, depth=1, num_heads=2)
)
PROMPT = "a red circle moves right on a blue background"


def make(backend: str = "numpy", dtype: str = "float32", config: OpenSoraConfig = NANO, **changes: Any) -> OpenSora:
    """The same weights on any backend, in any dtype."""
    config = replace(config, **changes)
    model = OpenSora(config, backend=backend, device="cpu", dtype=dtype)
    model.load_state_dict(_weights(config))
    return model


@cache
def _weights(config: OpenSoraConfig) -> dict[str, np.ndarray]:
    """Random weights where the initial ones are zero, and an autoencoder whose pixels fill their range."""
    rng = np.random.default_rng(7)
    state = {}
    for name, array in OpenSora(config, backend="numpy", dtype="float32").state_dict().items():
        state[name] = array if array.any() else rng.normal(0, 0.1, array.shape).astype("float32")
    C, D = config.codec.latent_channels, config.codec.block_size
    state["codec.basis"] = np.linalg.qr(rng.normal(size=(D, C)))[0].T.astype("float32")
    state["codec.scale"] = np.full(C, 8.0, "float32")
    return state


def clip(num_frames: int = 5, height: int = 16, width: int = 16, seed: int = 0) -> np.ndarray:
    """Noise as frames: uint8 [T, H, W, 3], read-only."""
    frames = np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), np.uint8)
    frames.flags.writeable = False
    return frames


def latents(model: OpenSora, *args: Any, **options: Any) -> np.ndarray:
    """The latents of the last window that a stream yields."""
    *steps, _ = model.stream(*args, **options)
    return model.ops.to_numpy(steps[-1].latents)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Relative L2 distance."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
