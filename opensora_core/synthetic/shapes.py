"""The six shapes as signed distances: negative inside, in pixels, so that half a pixel of blur is anti-aliasing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

Floats = NDArray[np.float32]

EXTENT: dict[str, float] = {
    "circle": 1.0,
    "square": 0.86,
    "triangle": 1.2,
    "star": 1.22,
    "cross": 1.05,
    "ring": 1.02,
}
"""Half the height or width of an upright shape of radius 1, whichever is larger."""

CIRCUMRADIUS = 1.25
"""Nothing of a shape of radius 1 lies farther from its centre, however it is turned."""


def signed_distance(shape: str, x: Floats, y: Floats, radius: Floats) -> Floats:
    """Distance of the points (x, y), relative to the centre, y down, from the edge of an upright shape.

    Exact for circle and ring, and exact at the edge of the others, which is all that anti-aliasing looks at. The radii
    are chosen so that all shapes of one radius look about equally large. The arguments broadcast against each other.
    """
    distance: Floats
    match shape:
        case "circle":
            distance = np.sqrt(x * x + y * y) - radius
        case "ring":
            distance = np.abs(np.sqrt(x * x + y * y) - 0.74 * radius) - 0.28 * radius
        case "square":
            distance = np.maximum(np.abs(x), np.abs(y)) - 0.86 * radius
        case "cross":
            distance = _cross(np.abs(x), np.abs(y), 1.05 * radius, 0.36 * radius)
        case "triangle":
            distance = np.maximum(y, np.float32(math.cos(math.pi / 6)) * np.abs(x) - 0.5 * y) - 0.6 * radius
        case "star":
            distance = _star(x, y, 1.22 * radius, 0.52 * radius)
        case _:
            raise InvalidInputError(f"shape={shape!r} is not one of {', '.join(EXTENT)}")
    return distance


def coverage(shape: str, x: Floats, y: Floats, radius: Floats) -> Floats:
    """How much of each pixel the shape covers, 0 to 1."""
    cover: Floats = np.clip(0.5 - signed_distance(shape, x, y, radius), 0, 1)
    return cover


def _cross(x: Floats, y: Floats, length: Floats, breadth: Floats) -> Floats:
    horizontal = np.maximum(x - length, y - breadth)
    vertical = np.maximum(x - breadth, y - length)
    union: Floats = np.minimum(horizontal, vertical)
    return union


def _star(x: Floats, y: Floats, outer: Floats, inner: Floats) -> Floats:
    """Distance from the line through a tip and its neighbouring notch, after folding the plane onto that tenth."""
    fifth = np.float32(2 * math.pi / 5)
    angle = np.arctan2(x, -y)
    angle = np.abs((angle + fifth / 2) % fifth - fifth / 2)
    distance = np.sqrt(x * x + y * y)
    along, across = distance * np.cos(angle), distance * np.sin(angle)
    edge_x = inner * np.float32(math.cos(math.pi / 5)) - outer
    edge_y = inner * np.float32(math.sin(math.pi / 5))
    length = np.sqrt(edge_x * edge_x + edge_y * edge_y)
    result: Floats = (along - outer) * (edge_y / length) - across * (edge_x / length)
    return result
