"""Many clips on one picture, each with words above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .video import Frames

if TYPE_CHECKING:
    from PIL import Image

Word = tuple[str, tuple[int, int, int]]
"""A word and its colour."""

GAP, LINE = 6, 12  # pixels between clips, and of a line of words
SHOWN, BETWEEN = 6, 2  # frames of each clip, and pixels between them
SIDE = 96  # pixels of a shown frame's longer side, at least
WIDTH = 1620  # of the whole sheet, about
PAPER, INK = (255, 255, 255), (40, 40, 40)


def labelled_sheet(videos: Sequence[Frames], labels: Sequence[str | Sequence[Word]]) -> Image.Image:
    """A Pillow image of videos uint8 [T, H, W, 3], all of one shape: frames spread over each, its label above."""
    from PIL import Image, ImageDraw

    if len(videos) != len(labels) or not labels:
        raise InvalidInputError(f"{len(videos)} videos and {len(labels)} labels: give one label for each video")
    strips = [strip(video[spread(len(video))]) for video in videos]
    height, width = strips[0].shape[:2]
    words = [_wrapped(_coloured(label), width) for label in labels]
    label = LINE * max(len(lines) for lines in words)
    columns = max(1, min(len(strips), WIDTH // (width + GAP)))
    rows = -(-len(strips) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (label + height + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (row, lines) in enumerate(zip(strips, words, strict=True)):
        left, top = GAP + place % columns * (width + GAP), GAP + place // columns * (label + height + GAP)
        for number, line in enumerate(lines):
            at = float(left)
            for word, color in line:
                draw.text((at, top + number * LINE), word, fill=color)
                at += draw.textlength(f"{word} ")
        sheet.paste(Image.fromarray(row), (left, top + label))
    return sheet


def spread(num_frames: int) -> NDArray[np.intp]:
    """Numbers of the frames that stand for a clip, from first to last."""
    return np.linspace(0, num_frames - 1, min(SHOWN, num_frames)).round().astype(int)


def strip(frames: Frames) -> Frames:
    """Frames [T, H, W, 3] in a row, small ones enlarged."""
    scale = max(1, -(-SIDE // max(frames.shape[1:3])))
    pictures = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    apart = np.pad(pictures, ((0, 0), (0, 0), (0, BETWEEN), (0, 0)), constant_values=255)
    return np.concatenate(list(apart), axis=1)[:, :-BETWEEN]


def _coloured(label: str | Sequence[Word]) -> Sequence[Word]:
    return [(word, INK) for word in label.split()] if isinstance(label, str) else label


def _wrapped(words: Sequence[Word], width: int) -> list[list[Word]]:
    """Words in lines of at most `width` pixels."""
    from PIL import Image, ImageDraw

    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    lines: list[list[Word]] = [[]]
    for word in words:
        text = " ".join(text for text, _ in [*lines[-1], word])
        if lines[-1] and draw.textlength(text) > width:
            lines.append([])
        lines[-1].append(word)
    return lines
