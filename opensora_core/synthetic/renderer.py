"""Draws a scene as frames: an anti-aliased shape along its track, over a plain background."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .motion import Track, track
from .scene import PALETTE, Scene
from .shapes import CIRCUMRADIUS, coverage

COLOR_JITTER = 5.0


def render(
    scene: Scene,
    rng: np.random.Generator,
    *,
    num_frames: int = 17,
    height: int = 64,
    width: int = 64,
    fps: float = 8.0,
    start: float = 0.0,
    free: bool = False,
) -> NDArray[np.uint8]:
    """Frames uint8 [T, H, W, 3] of `scene`; frame i shows the moment start + i / fps, in seconds.

    One full motion takes 2 seconds (17 frames at 8 fps). After that it holds its last state, except that bouncing,
    orbiting, spinning and blinking go on. Lengths scale with the shorter side of the frame. The same state of `rng`
    gives the same motion whatever `num_frames`, `fps` and `start` are, so a clip can be drawn in pieces.

    Args:
        scene: what to show.
        rng: draws place, exact size and a slight shade of both colours.
        num_frames: at least 1.
        height: in pixels, at least 1.
        width: in pixels, at least 1.
        fps: frames a second, positive.
        start: the moment of the first frame in seconds, at least 0.
        free: start anywhere in the frame instead of near the middle.

    Raises:
        InvalidInputError: for a size, rate or moment out of its range.
    """
    _check(num_frames, height, width, fps, start)
    path = track(scene, rng, start + np.arange(num_frames) / fps, height, width, free=free)
    color, background = _shade(scene.color, rng), _shade(scene.background, rng)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    frames.reshape(-1, width * 3)[:] = np.tile((background + 0.5).astype(np.uint8), width)
    rows, columns = _box(path, height, width)
    cover = _cover(scene.shape, path, rows, columns)  # [T, h, w]
    for channel, (front, back) in enumerate(zip(color, background, strict=True)):  # 9 times as fast as [T, h, w, 3]
        frames[:, rows, columns, channel] = (back + 0.5) + cover * (front - back)
    return frames


def _check(num_frames: int, height: int, width: int, fps: float, start: float) -> None:
    for name, value in (("num_frames", num_frames), ("height", height), ("width", width)):
        if value < 1:
            raise InvalidInputError(f"{name}={value} must be at least 1")
    if not (math.isfinite(fps) and fps > 0):
        raise InvalidInputError(f"fps={fps} must be a positive number of frames a second")
    if not (math.isfinite(start) and start >= 0):
        raise InvalidInputError(f"start={start} must be a moment in seconds from 0 on")


def _shade(color: str, rng: np.random.Generator) -> NDArray[np.float32]:
    exact = np.array(PALETTE[color]) + rng.uniform(-COLOR_JITTER, COLOR_JITTER, 3)
    return np.clip(exact, 0, 255).astype(np.float32)


def _box(path: Track, height: int, width: int) -> tuple[slice, slice]:
    """The part of the frame that the object ever touches: drawing only there is most of the speed."""
    margin = float(path.radius.max()) * CIRCUMRADIUS + 2
    return _span(path.y, margin, height), _span(path.x, margin, width)


def _span(centers: NDArray[np.float64], margin: float, length: int) -> slice:
    first = min(max(math.floor(centers.min() - margin), 0), length)
    last = min(max(math.ceil(centers.max() + margin), first), length)
    return slice(first, last)


def _cover(shape: str, path: Track, rows: slice, columns: slice) -> NDArray[np.float32]:
    """Opacity [T, h, w] of the object in the box; pixel centres lie at half-integers."""
    centers_x = np.arange(columns.start, columns.stop) + 0.5
    centers_y = np.arange(rows.start, rows.stop) + 0.5
    x = (centers_x[None, :] - path.x[:, None]).astype(np.float32)[:, None, :]
    y = (centers_y[None, :] - path.y[:, None]).astype(np.float32)[:, :, None]
    if path.angle.any():
        cos, sin = (f(path.angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
        x, y = cos * x + sin * y, cos * y - sin * x
    cover = coverage(shape, x, y, path.radius.astype(np.float32)[:, None, None])
    if not path.visible.all():
        cover *= path.visible.astype(np.float32)[:, None, None]
    return cover
