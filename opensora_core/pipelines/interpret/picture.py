"""Heat over frames: where a video is touched by each word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...media.sheet import INK, PAPER, spread, strip
from ...media.video import Frames

if TYPE_CHECKING:
    from PIL import Image

LABEL, GAP = 84, 2  # pixels for a word, and between the rows
HOT = np.array([255, 60, 0], np.float32)


def heat_picture(words: Sequence[str], influence: NDArray[np.float32], frames: Frames) -> Image.Image:
    """A Pillow image: the frames [T, H, W, 3], and below them for each word the same frames, dark but for its heat.

    influence: [W, T', h, w], at least 0; the largest of all words together is fully bright.
    """
    from PIL import Image, ImageDraw

    some = spread(len(frames))
    heat = on_pixels(influence, frames.shape[:3])[:, some]  # (W, shown, H, W)
    heat = heat / max(float(heat.max()), 1e-12)
    strips = [strip(frames[some]), *(strip(_lit(frames[some], h)) for h in heat)]
    height, width = strips[0].shape[:2]
    picture = Image.new("RGB", (LABEL + width, len(strips) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(picture)
    for i, (word, row) in enumerate(zip(("", *words), strips, strict=True)):
        top = i * (height + GAP)
        draw.text((4, top + height // 2 - 6), word[:14], fill=INK)
        picture.paste(Image.fromarray(row), (LABEL, top))
    return picture


def on_pixels(influence: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Influence [W, T', h, w] of latents at the pixels they stand for: [W, T, H, W], T = 1 + (T' - 1)·k.

    A codec's first latent frame holds one frame, the others equally many.
    """
    frames, height, width = size
    group = -(-(frames - 1) // max(influence.shape[1] - 1, 1)) or 1
    at = [(np.arange(frames) + group - 1) // group]
    at += [np.arange(n) * k // n for n, k in zip((height, width), influence.shape[2:], strict=True)]
    large: NDArray[np.float32] = influence[:, at[0][:, None, None], at[1][:, None], at[2]]
    return large


def _lit(frames: Frames, heat: NDArray[np.float32]) -> Frames:
    h = heat[..., None]
    lit: Frames = np.clip(frames * (0.25 + 0.75 * h) + HOT * 0.35 * h, 0, 255).astype(np.uint8)
    return lit
