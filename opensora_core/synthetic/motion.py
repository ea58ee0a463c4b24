"""Where the object is at each moment: its track through the frame, in pixels and seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .scene import PERIODIC_MOTIONS, RESIZING_MOTIONS, Scene
from .shapes import EXTENT

Floats = NDArray[np.float64]

SECONDS = 2.0
"""One full motion: from start to end, once around, one bounce."""

DESIGN_SIZE = 64
"""The shorter side of the frame in which the lengths below are given; other frames scale them."""

RADII = {"small": (7.2, 8.2), "medium": (10.3, 11.5), "large": (14.0, 15.5)}
SHRUNKEN, GROWN = (5.5, 6.5), (14.0, 16.0)
DIRECTIONS = {
    "right": (1, 0),
    "left": (-1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "upright": (1, -1),
    "upleft": (-1, -1),
    "downright": (1, 1),
    "downleft": (-1, 1),
}
DIAGONAL = 0.8  # a diagonal goes this much less far along each axis, and so a little farther in all


@dataclass(frozen=True)
class Track:
    """The object in each of T frames, every field [T]: centre and radius in pixels, angle in radians, seen or not."""

    x: Floats
    y: Floats
    radius: Floats
    angle: Floats
    visible: Floats


def track(scene: Scene, rng: np.random.Generator, seconds: Floats, height: int, width: int, *, free: bool) -> Track:
    """The track of `scene` at the given moments [T].

    What `rng` draws does not depend on the moments: the same generator state gives the same motion, however it is cut
    into clips. Size words do not apply to what grows or shrinks.
    """
    unit = min(height, width) / DESIGN_SIZE
    phase = seconds / SECONDS
    if scene.motion not in PERIODIC_MOTIONS:
        phase = np.clip(phase, 0, 1)
    radius = _radius(scene, rng, phase) * unit
    if free:
        reach = _largest_radius(scene, radius, unit) * EXTENT[scene.shape] + 1.5
        x, y = _free_path(scene.motion, rng, phase, unit, height, width, reach)
    else:
        x, y = _canonical_path(scene.motion, rng, phase, unit, height, width)
    angle = np.pi * phase if scene.motion == "spin" else np.zeros_like(phase)
    return Track(x, y, radius, angle, _visible(scene.motion, seconds))


def _radius(scene: Scene, rng: np.random.Generator, phase: Floats) -> Floats:
    if scene.motion in RESIZING_MOTIONS:
        small, large = rng.uniform(*SHRUNKEN), rng.uniform(*GROWN)
        first, last = (small, large) if scene.motion == "grow" else (large, small)
        return first + (last - first) * phase
    return np.full_like(phase, rng.uniform(*RADII[scene.size]))


def _largest_radius(scene: Scene, radius: Floats, unit: float) -> float:
    """The room to keep free around the centre; it must not depend on which moments are asked for."""
    if scene.motion in RESIZING_MOTIONS:
        return GROWN[1] * unit
    return float(radius[0])


def _visible(motion: str, seconds: Floats) -> Floats:
    """Blinking: seen until 0.625 s, away for a second, seen for a second, and so on."""
    if motion != "blink":
        return np.ones_like(seconds)
    return ((2 * seconds + 0.75) % 4 < 2).astype(np.float64)


def _canonical_path(
    motion: str, rng: np.random.Generator, phase: Floats, unit: float, height: int, width: int
) -> tuple[Floats, Floats]:
    """A path around the middle of the frame, off by at most 4 units across and 2 units along the way."""
    away_x, away_y = rng.uniform(-4, 4, 2) * unit
    x, y = np.full_like(phase, width / 2), np.full_like(phase, height / 2)
    if motion in DIRECTIONS:
        dx, dy = DIRECTIONS[motion]
        distance = 24 * unit * (DIAGONAL if dx and dy else 1)
        x = x + away_x * (0.5 if dx else 1) + dx * distance * (phase - 0.5)
        y = y + away_y * (0.5 if dy else 1) + dy * distance * (phase - 0.5)
    elif motion == "orbit":
        angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * phase
        x, y = x + 12 * unit * np.cos(angle), y + 12 * unit * np.sin(angle)
    elif motion == "bounce":
        x, y = x + away_x, y + away_y / 2 + 22 * unit * (0.5 - np.abs(np.cos(np.pi * phase)))
    elif motion == "swing":
        x, y = x + away_x / 2 - 12 * unit * np.cos(2 * np.pi * phase), y + away_y
    else:
        x, y = x + away_x, y + away_y
    return x, y


def _free_path(
    motion: str, rng: np.random.Generator, phase: Floats, unit: float, height: int, width: int, reach: float
) -> tuple[Floats, Floats]:
    """A path anywhere in the frame that keeps the object (at most `reach` pixels to each side) inside."""
    if motion in DIRECTIONS:
        dx, dy = DIRECTIONS[motion]
        distance = rng.uniform(0.36, 0.46) * DESIGN_SIZE * unit * (DIAGONAL if dx and dy else 1)
        x = _start(rng, dx, width, reach, distance) + dx * distance * phase
        y = _start(rng, dy, height, reach, distance) + dy * distance * phase
    elif motion == "orbit":
        fits = min(height, width) / 2 - reach
        around = max(min(rng.uniform(12, 15) * unit, fits), 7 * unit)
        angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * phase  # clockwise on the screen, where y runs down
        x = _anywhere(rng, width, reach + around) + around * np.cos(angle)
        y = _anywhere(rng, height, reach + around) + around * np.sin(angle)
    elif motion == "bounce":
        leap = min(rng.uniform(20, 26) * unit, height - 2 * reach)
        floor = height - reach - rng.uniform(0, max(0.0, min(6 * unit, height - 2 * reach - leap)))
        x = np.full_like(phase, _anywhere(rng, width, reach))
        y = floor - leap * np.abs(np.cos(np.pi * phase))  # from the top to the floor at half time and back up
    elif motion == "swing":
        fits = width / 2 - reach
        swung = max(min(rng.uniform(10, 13) * unit, fits), 7 * unit)
        x = _anywhere(rng, width, reach + swung) - swung * np.cos(
            2 * np.pi * phase
        )  # from the left to the right and back
        y = np.full_like(phase, _anywhere(rng, height, reach))
    else:
        x = np.full_like(phase, _anywhere(rng, width, reach))
        y = np.full_like(phase, _anywhere(rng, height, reach))
    return x, y


def _anywhere(rng: np.random.Generator, length: int, reach: float) -> float:
    """A centre along one side of the frame; the middle where there is no room to choose."""
    slack = max(0.0, length / 2 - reach)
    return length / 2 + slack * rng.uniform(-1, 1)


def _start(rng: np.random.Generator, direction: int, length: int, reach: float, distance: float) -> float:
    """Where a way of `distance` may start so that it also ends inside; a centred way where there is no room."""
    if direction == 0:
        return _anywhere(rng, length, reach)
    room = length - 2 * reach - distance
    place = reach + room * rng.uniform(0, 1) if room > 0 else (length - distance) / 2
    return place if direction > 0 else length - place
