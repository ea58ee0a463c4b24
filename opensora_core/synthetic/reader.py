"""Reads off a clip what it shows, by rules: the judge of what the embedded model generates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .cutout import Cutout, border_color, cut_out
from .matching import center_and_area, match, overlap, patch, templates
from .motion import DESIGN_SIZE
from .scene import BACKGROUNDS, COLORS, PALETTE, ROUND_SHAPES

Floats = NDArray[np.float32]

NOTHING = "none"
"""What is read of each attribute but the background where no object stands out."""

SMALL_BELOW, MEDIUM_BELOW = 9.25, 12.8
"""Radii halfway between the sizes that are drawn."""

COMPASS = ("right", "upright", "up", "upleft", "left", "downleft", "down", "downright")


@dataclass(frozen=True)
class Reading:
    """What a clip shows, and the evidence; lengths count in units of 1/64 of the frame's shorter side."""

    background: str
    color: str = NOTHING
    shape: str = NOTHING
    motion: str = NOTHING
    size: str = NOTHING
    iou: float = 0.0  # overlap with the ideal shape, 0 to 1: real clips of 64x64 have 0.78 and more, of 32x32 0.64
    radius: float = 0.0  # median over the frames that show the object
    clean: float = 0.0  # RMS in levels of what is neither object nor background; real clips have less than 1
    background_error: float = 0.0  # mean deviation of the frame's border in levels
    visible: float = 0.0  # share of the frames that show the object
    dx: float = 0.0  # from the first place to the last
    dy: float = 0.0
    growth: float = 1.0  # last radius over first


@dataclass(frozen=True)
class _Course:
    """The object in the n frames that show it: centres and radii [n] in units, patches [n, ...], share of frames."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius: NDArray[np.float64]
    patches: Floats
    visible: float


def read(video: NDArray[np.uint8]) -> Reading:
    """The attributes of a clip uint8 [T, H, W, 3] that shows one full motion (2 seconds), in 5 frames or more.

    A single frame is read too, its motion as "still".

    Raises:
        InvalidInputError: if `video` is not uint8 [T, H, W, 3] with at least one frame of 8x8 pixels.
    """
    _check(video)
    frames = video.astype(np.float32)
    rgb, background_error = border_color(frames)
    background = _nearest(rgb, BACKGROUNDS)
    cutout = cut_out(frames, rgb)
    if cutout is None:
        return Reading(background, background_error=background_error)
    shape, iou, course = _follow(cutout)
    radius = float(np.median(course.radius))
    return Reading(
        background=background,
        color=_nearest(cutout.color, COLORS),
        shape=shape,
        motion=_motion(shape, course),
        size="small" if radius < SMALL_BELOW else "medium" if radius < MEDIUM_BELOW else "large",
        iou=iou,
        radius=radius,
        clean=cutout.clean,
        background_error=background_error,
        visible=course.visible,
        dx=float(course.x[-1] - course.x[0]),
        dy=float(course.y[-1] - course.y[0]),
        growth=float(course.radius[-1] / course.radius[0]),
    )


def _check(video: NDArray[np.uint8]) -> None:
    if video.dtype == np.uint8 and video.ndim == 4 and video.shape[3] == 3:
        num_frames, height, width = video.shape[:3]
        if num_frames >= 1 and min(height, width) >= 8:
            return
    raise InvalidInputError(
        f"a clip of shape {list(video.shape)} and dtype {video.dtype} cannot be read: "
        "it must be uint8 [T, H, W, 3] with at least 1 frame of at least 8 x 8 pixels"
    )


def _nearest(color: NDArray[np.floating], names: tuple[str, ...]) -> str:
    distances = [float(np.square(color - np.array(PALETTE[name])).sum()) for name in names]
    return names[int(np.argmin(distances))]


def _follow(cutout: Cutout) -> tuple[str, float, _Course]:
    """Shape, its fit in up to 5 frames spread over the clip, and the object's course."""
    areas = cutout.opacity.sum((1, 2))
    shown = cutout.opacity[areas > 0.06 * np.percentile(areas, 90)]
    unit = min(shown.shape[1:]) / DESIGN_SIZE
    patches = np.stack([patch(frame) for frame in shown])
    places = np.array([center_and_area(frame) for frame in shown])  # [n, (x, y, area)]
    some = np.linspace(0, len(shown) - 1, min(5, len(shown))).astype(int)
    fits = match(patches[some])
    shape = max(fits, key=lambda name: fits[name])
    radius = np.sqrt(places[:, 2] / templates().areas[shape]) / unit
    course = _Course(places[:, 0] / unit, places[:, 1] / unit, radius, patches, len(shown) / len(areas))
    return shape, fits[shape], course


def _motion(shape: str, course: _Course) -> str:
    dx, dy = course.x[-1] - course.x[0], course.y[-1] - course.y[0]
    range_x, range_y = np.ptp(course.x), np.ptp(course.y)
    growth = course.radius[-1] / course.radius[0]
    if course.visible < 0.85:
        return "blink"
    if growth > 1.5:
        return "grow"
    if growth < 1 / 1.5:
        return "shrink"
    if np.hypot(dx, dy) < 10 and range_x > 12 and range_y > 12:
        return "orbit"
    if range_y > 10 and range_x < 8 and abs(dy) < 0.5 * range_y:
        return "bounce"
    if range_x > 10 and range_y < 8 and abs(dx) < 0.5 * range_x:
        return "swing"
    if np.hypot(dx, dy) > 10:
        eighth = round(float(np.arctan2(-dy, dx)) / (np.pi / 4))  # y runs down
        return COMPASS[eighth % 8]
    return "spin" if _turns(shape, course.patches) else "still"


def _turns(shape: str, patches: Floats) -> bool:
    """Whether an object in place looks different from its first frame for at least a quarter of the time.

    By this measure a turned shape overlaps itself by 0.75 at most (0.81 when blurred); a still one, slightly blurred
    and noisy, by 0.88 at least.
    """
    if shape in ROUND_SHAPES:
        return False
    return bool(np.percentile(overlap(patches[0], patches), 25) < 0.84)
