"""Handfuls of small files to learn from, drawn by the synthetic renderer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opensora_core.media import Video
from opensora_core.random import generator
from opensora_core.synthetic.prompts import describe
from opensora_core.synthetic.world import EASY
from opensora_core.training.datasets.files import Encoders


def write_clip(path: Path, index: int = 0, num_frames: int = 9, height: int = 24, width: int = 32) -> str:
    """Save one clip at 8 fps, or with one frame a picture, and its caption beside it; returns the caption."""
    rng = generator(0, "clip", index)
    scene = EASY.sample(rng)
    frames = EASY.render(scene, rng, num_frames=num_frames, height=height, width=width, fps=8.0)
    caption = describe(scene, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    Video(frames, 8).save(path)
    path.with_suffix(".txt").write_text(caption + "\n")
    return caption


def write_folder(folder: Path, videos: int = 4, pictures: int = 2) -> Path:
    """A folder of videos of two sizes and lengths, the pictures in a folder of their own."""
    for i in range(videos):
        wide = i % 2 == 0
        write_clip(folder / f"clip{i}.mp4", i, 9 + 4 * (i % 3), *((24, 32) if wide else (32, 24)))
    for i in range(pictures):
        write_clip(folder / "stills" / f"still{i}.png", 100 + i, 1)
    return folder


def encoders(calls: list[str] | None = None) -> Encoders:
    """Encoders that keep the mean colour of 8x8 blocks, and note in `calls` what they are asked for."""
    calls = [] if calls is None else calls

    def latents(frames: np.ndarray) -> np.ndarray:
        calls.append("frames")
        B, _, H, W, _ = frames.shape
        blocks = frames[:, ::4].reshape(B, -1, H // 8, 8, W // 8, 8, 3).mean(axis=(3, 5))
        return np.moveaxis(blocks, -1, 1).astype(np.float32) / 255

    def text(caption: str) -> np.ndarray:
        calls.append("text")
        return np.full((3, 2), len(caption), np.float32)

    return Encoders(latents, text, "mean colours", "length")
