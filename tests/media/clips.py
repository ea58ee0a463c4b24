"""Clips whose every pixel is known."""

from __future__ import annotations

import numpy as np

from opensora_core.media import Video


def moving_square(T: int = 6, H: int = 64, W: int = 64, fps: float = 8) -> Video:
    """A red square moves right on blue: sharp, coloured edges, the hardest for 4:2:0."""
    frames = np.full((T, H, W, 3), (30, 60, 200), np.uint8)
    for t in range(T):
        left = (W - W // 3) * t // max(T - 1, 1)
        frames[t, H // 3 : 2 * H // 3 + 1, left : left + W // 3 + 1] = (230, 20, 20)
    return Video(frames, fps, {"prompt": "a réd square", "seed": 0})


def waves(T: int = 6, H: int = 64, W: int = 64, fps: float = 24) -> Video:
    """Smooth moving colours."""
    t, y, x = np.mgrid[:T, :H, :W]
    channels = (np.sin(x / 9 + t / 3), np.sin(y / 7 + t / 4), np.cos((x + y) / 11))
    return Video((127 + 100 * np.stack(channels, -1)).round().astype(np.uint8), fps)


def numbered(T: int, fps: float, H: int = 8, W: int = 8) -> Video:
    """Frame t is grey of 10 t: which frame is which shows after any codec."""
    frames = np.repeat(np.arange(T, dtype=np.uint8) * 10, H * W * 3).reshape(T, H, W, 3)
    return Video(frames, fps)


def numbers(video: Video) -> list[int]:
    """Which frames of `numbered` a video shows."""
    return [round(float(frame.mean()) / 10) for frame in video.frames]
