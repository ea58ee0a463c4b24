"""Sizes and lengths by the names that the official releases use for them."""

from __future__ import annotations

import math

from ..checks import one_of
from ..training.datasets.resolutions import resolutions

RATIO_NAMES = {
    "3:8": "0.38", "9:21": "0.43", "12:25": "0.48", "1:2": "0.50", "9:17": "0.53", "27:50": "0.54", "9:16": "0.56",
    "5:8": "0.62", "2:3": "0.67", "3:4": "0.75", "1:1": "1.00", "4:3": "1.33", "3:2": "1.50", "16:9": "1.78",
    "17:9": "1.89", "2:1": "2.00", "50:27": "2.08",
}  # fmt: skip
"""v1.2: names of aspect ratios, height first: 9:16 is wider than high."""
NUM_FRAMES = {f"{n}x": 51 * n for n in (1, 2, 4, 8, 16)} | {f"{2 * n}s": 51 * n for n in (1, 2, 4, 8, 16)}
"""v1.2: frames of a length in units of 51, or in seconds at about 24 frames each."""
PIXELS_V2 = {name: side**2 for name, side in zip(
    ("256px", "360p", "512px", "720p", "768px", "1024px"), (256, 480, 512, 960, 768, 1024), strict=True
)}  # fmt: skip
"""v2.0: pixels of a resolution."""
RATIOS_V2 = ("2.39:1", "2:1", "16:9", "1.85:1", "9:16", "5:8", "3:2", "4:3", "1:1")
CELL_V2 = 16  # pixels of a token of v2.0

Size = tuple[int, int]


def size_v12(resolution: str, ratio: str) -> Size:
    """(height, width) of a resolution of v1.2 such as "480p" and a ratio of `RATIO_NAMES`.

    A resolution that lacks the ratio has its nearest one. Raises InvalidInputError for names that are not known.
    """
    one_of("resolution", resolution, tuple(resolutions()))
    value = float(RATIO_NAMES[one_of("ratio", ratio, tuple(RATIO_NAMES))])
    sizes = resolutions()[resolution].sizes
    return sizes[min(sizes, key=lambda key: abs(float(key) - value))]


def size_v12_width_first(resolution: str, ratio: str) -> Size:
    """`size_v12` with the ratio the other way around, as v2.0 has it: 16:9 lies; for all releases of v1."""
    turned = {_turned(name): name for name in RATIO_NAMES}
    return size_v12(resolution, turned[one_of("aspect_ratio", ratio, tuple(turned))])


def is_named_v12(height: int, width: int) -> bool:
    """Whether v1 has a resolution of this size, such as 240x426, at some aspect ratio."""
    return any((height, width) in entry.sizes.values() for entry in resolutions().values())


def sizes_v2(resolution: str, *, training: bool = False) -> dict[str, Size]:
    """(height, width) of every aspect ratio, width first, of a resolution of v2.0; training has each size once.

    In training a side may be one cell longer or shorter than what fits, if that comes nearer to the nominal pixels.
    Raises InvalidInputError for a resolution that is not known.
    """
    pixels = PIXELS_V2[one_of("resolution", resolution, tuple(PIXELS_V2))]
    sizes: dict[str, Size] = {}
    turned: dict[str, Size] = {}
    for name in RATIOS_V2:
        width, height = (float(side) for side in name.split(":"))
        size = _fit(pixels, width / height)
        if training:
            size = _nearest(size, pixels)
            if size in sizes.values():
                continue
        sizes[name] = size
        turned[_turned(name)] = (size[1], size[0])
    return {**sizes, **turned}


def size_v2(resolution: str, ratio: str) -> Size:
    """(height, width) at which v2.0 generates, such as "256px" at "16:9"."""
    sizes = sizes_v2(resolution)
    return sizes[one_of("aspect_ratio", ratio, tuple(sizes))]


def size_v2_like(resolution: str, height: int, width: int) -> Size:
    """The size of a resolution whose proportions are nearest to those of height and width."""
    sizes = sizes_v2(resolution).values()
    return min(sizes, key=lambda size: abs(math.log(size[0] * width / (size[1] * height))))


def whole_cells(height: int, width: int) -> Size:
    """A size of v2.0 rounded up to whole tokens of 16 pixels."""
    return -(-height // CELL_V2) * CELL_V2, -(-width // CELL_V2) * CELL_V2


def _fit(pixels: int, ratio: float) -> Size:
    """The largest whole cells of width over height = ratio within so many pixels."""
    width = int(math.sqrt(pixels * ratio) // CELL_V2) * CELL_V2
    return int(pixels / width // CELL_V2) * CELL_V2, width


def _nearest(size: Size, pixels: int) -> Size:
    """The size, or one a cell taller, lower, wider or narrower, whichever is nearest to so many pixels."""
    height, width = size
    steps = ((0, 0), (-CELL_V2, 0), (CELL_V2, 0), (0, -CELL_V2), (0, CELL_V2))
    return min(((height + dh, width + dw) for dh, dw in steps), key=lambda s: abs(s[0] * s[1] - pixels))


def _turned(ratio: str) -> str:
    return ":".join(reversed(ratio.split(":")))
