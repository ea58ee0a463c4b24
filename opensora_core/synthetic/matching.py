"""Names the shape of an opacity map by laying the ideal shapes over it, in every position they may have turned to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .scene import SHAPES
from .shapes import coverage

Floats = NDArray[np.float32]

PATCH = 24
"""Side of the square picture that everything is compared in."""

REACH = 1.25
"""Half the side of that picture, in square roots of the object's area: room for a star's tips."""


@dataclass(frozen=True)
class Templates:
    """Ideal shapes: patches [N, PATCH, PATCH], the shape of each [N], and the area of each shape of radius 1."""

    patches: Floats
    shapes: tuple[str, ...]
    areas: dict[str, float]


def center_and_area(opacity: Floats) -> tuple[float, float, float]:
    """Centre (x, y) and area of an opacity map [H, W], in pixels; the area must not be 0."""
    area = float(opacity.sum())
    x = float(opacity.sum(0) @ (np.arange(opacity.shape[1]) + 0.5)) / area
    y = float(opacity.sum(1) @ (np.arange(opacity.shape[0]) + 0.5)) / area
    return x, y, area


def patch(opacity: Floats) -> Floats:
    """The object [PATCH, PATCH], centred and scaled to unit area: bilinear, and empty beyond the frame."""
    x, y, area = center_and_area(opacity)
    reach = REACH * area**0.5
    grid = ((np.arange(PATCH) + 0.5) / PATCH * 2 - 1) * reach - 0.5
    margin = int(reach) + 3
    padded = np.pad(opacity, margin)
    rows, columns = _interpolation(y + grid + margin, len(padded)), _interpolation(x + grid + margin, padded.shape[1])
    return (rows @ padded @ columns.T).astype(np.float32, copy=False)


def overlap(a: Floats, b: Floats) -> Floats:
    """Intersection over union of opacity maps [..., H, W], 0 to 1; leading axes broadcast."""
    result: Floats = np.minimum(a, b).sum((-2, -1)) / np.maximum(a, b).sum((-2, -1))
    return result


def match(patches: Floats) -> dict[str, float]:
    """How well each shape fits patches [n, PATCH, PATCH]: the overlap at the best angle, mean over n."""
    known = templates()
    scores = overlap(patches[:, None], known.patches)  # [n, N]
    owners = np.array(known.shapes)
    return {shape: float(scores[:, owners == shape].max(1).mean()) for shape in SHAPES}


@lru_cache(maxsize=1)
def templates() -> Templates:
    """All shapes, every 15 degrees; what turns into itself is there only once."""
    radius, side = np.full(1, 36, np.float32), 128
    axis = np.arange(side, dtype=np.float32) + 0.5 - side / 2
    patches, names, areas = [], [], {}
    for shape in SHAPES:
        for angle in np.deg2rad(_angles(shape)):
            cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            x, y = cos * axis[None] + sin * axis[:, None], cos * axis[:, None] - sin * axis[None]
            opacity = coverage(shape, x, y, radius)
            patches.append(patch(opacity))
            names.append(shape)
            areas[shape] = float(opacity.sum() / radius[0] ** 2)
    return Templates(np.stack(patches), tuple(names), areas)


def _angles(shape: str) -> range:
    period = {"circle": 15, "ring": 15, "square": 90, "cross": 90, "triangle": 120, "star": 360}[shape]
    return range(0, period, 15)


def _interpolation(places: NDArray[np.float64], length: int) -> Floats:
    """Rows of weights [n, length] that interpolate linearly at `places`."""
    weights: Floats = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(length))).astype(np.float32)
    return weights
