"""Many videos on one picture, each with its prompt and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInputError
from ..synthetic.adherence import misread
from .cases import Case
from .text import Frames

if TYPE_CHECKING:
    from PIL import Image

GAP, LABEL = 6, 14  # pixels between clips, and above a clip for its words
SHOWN = 6  # frames of each clip
SIDE = 96  # pixels of a shown frame's longer side, at least
PAPER, INK, RED = (255, 255, 255), (40, 40, 40), (200, 30, 30)


def contact_sheet(videos: Sequence[Frames], cases: Sequence[Case], *, limit: int = 20, columns: int = 2) -> Any:
    """A Pillow image of the first `limit` videos: frames spread over each, prompt above, misread attributes in red.

    Videos uint8 [T, H, W, 3], all of one shape.
    """
    from PIL import Image, ImageDraw

    if len(videos) != len(cases) or not cases:
        raise InvalidInputError(f"{len(videos)} videos and {len(cases)} cases: give one case for each video")
    strips = [_strip(video) for video in videos[:limit]]
    height, width = strips[0].shape[:2]
    columns = min(columns, len(strips))
    rows = -(-len(strips) // columns)
    size = (columns * (width + GAP) + GAP, rows * (height + LABEL + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (strip, video, case) in enumerate(zip(strips, videos, cases, strict=False)):
        left, top = GAP + place % columns * (width + GAP), GAP + place // columns * (height + LABEL + GAP)
        wrong = ", ".join(misread(video, case.scene, still_image=len(video) == 1))
        draw.text((left, top), wrong, fill=RED)
        draw.text((left + draw.textlength(f"{wrong}  " if wrong else ""), top), case.prompt, fill=INK)
        sheet.paste(_image(strip), (left, top + LABEL))
    return sheet


def _strip(video: Frames) -> Frames:
    """Frames from first to last in a row, enlarged."""
    some = np.linspace(0, len(video) - 1, min(SHOWN, len(video))).round().astype(int)
    row = np.concatenate([video[i] for i in some], axis=1)
    scale = max(1, -(-SIDE // max(video.shape[1:3])))
    return np.asarray(row.repeat(scale, axis=0).repeat(scale, axis=1))


def _image(pixels: Frames) -> Image.Image:
    from PIL import Image

    return Image.fromarray(pixels)
