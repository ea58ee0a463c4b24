"""Heat over frames: where a video is touched by each word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..media.video import Frames
from .words import TokenAttribution

if TYPE_CHECKING:
    from PIL import Image

SHOWN, GAP, LABEL, SIDE = 6, 2, 84, 96  # frames; pixels between them, for a word, of a frame's longer side at least
HOT = np.array([255, 60, 0], np.float32)


def heat_picture(attribution: TokenAttribution, frames: Frames, *, limit: int = 24) -> Image.Image:
    """A Pillow image: the frames [T, H, W, 3], and below them for each word the same frames, darkened but for where
    the word has influence. The hottest place of all words together is fully bright.
    """
    from PIL import Image, ImageDraw

    some = np.linspace(0, len(frames) - 1, min(SHOWN, len(frames))).round().astype(int)
    words = attribution.words[:limit]
    heat = spread(attribution.influence[:limit], frames.shape[:3])[:, some]  # (W, shown, H, W)
    heat = heat / max(float(heat.max()), 1e-12)
    rows = [frames[some], *(_lit(frames[some], h) for h in heat)]
    scale = max(1, -(-SIDE // max(frames.shape[1:3])))
    strips = [_strip(row, scale) for row in rows]
    height, width = strips[0].shape[:2]
    picture = Image.new("RGB", (LABEL + width, len(strips) * (height + GAP)), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    for i, (word, strip) in enumerate(zip(("", *words), strips, strict=True)):
        top = i * (height + GAP)
        draw.text((4, top + height // 2 - 6), word[:14], fill=(40, 40, 40))
        picture.paste(Image.fromarray(strip), (LABEL, top))
    return picture


def spread(influence: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
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


def _strip(frames: Frames, scale: int) -> Frames:
    large = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    apart = np.pad(large, ((0, 0), (0, 0), (0, GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(apart), axis=1)
