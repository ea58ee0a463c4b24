"""Open-Sora's resolutions: each a number of pixels, and one size for every aspect ratio (v1.2's tables)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Resolution:
    """A named resolution: its nominal pixels, and sizes (height, width) by aspect ratio, height over width."""

    name: str
    pixels: int
    sizes: Mapping[str, tuple[int, int]]

    def closest_ratio(self, height: int, width: int) -> str:
        """The aspect ratio of the table that is nearest to that of a picture."""
        return min(self.sizes, key=lambda ratio: abs(float(ratio) - height / width))


@cache
def resolutions() -> dict[str, Resolution]:
    """All resolutions by name, such as "144p" or "1024"."""
    text = files(__package__).joinpath("resolutions.json").read_text(encoding="utf-8")
    return {
        name: Resolution(name, entry["pixels"], {ratio: (h, w) for ratio, (h, w) in entry["sizes"].items()})
        for name, entry in json.loads(text).items()
    }
