"""Many videos on one picture, each with its prompt and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidInputError
from ..media.video import Frames
from ..synthetic.adherence import misread
from .cases import Case

if TYPE_CHECKING:
    from PIL import Image

Word = tuple[str, tuple[int, int, int]]
"""A word and its colour."""

GAP, LINE = 6, 12  # pixels between clips, and of a line of words
SHOWN, BETWEEN = 6, 2  # frames of each clip, and pixels between them
SIDE = 96  # pixels of a shown frame's longer side, at least
WIDTH = 1620  # of the whole sheet, about
PAPER, INK, RED = (255, 255, 255), (40, 40, 40), (200, 30, 30)


def contact_sheet(videos: Sequence[Frames], cases: Sequence[Case], *, limit: int = 20) -> Image.Image:
    """A Pillow image of the first `limit` videos: frames spread over each, prompt above, misread attributes in red.

    Videos uint8 [T, H, W, 3], all of one shape.
    """
    if len(videos) != len(cases) or not cases:
        raise InvalidInputError(f"{len(videos)} videos and {len(cases)} cases: give one case for each video")
    shown = list(zip(videos, cases, strict=True))[:limit]
    return _sheet(videos[:limit], [_words(video, case) for video, case in shown])


def labelled_sheet(videos: Sequence[Frames], labels: Sequence[str]) -> Image.Image:
    """A Pillow image of videos uint8 [T, H, W, 3], all of one shape: frames spread over each, its label above."""
    if len(videos) != len(labels) or not labels:
        raise InvalidInputError(f"{len(videos)} videos and {len(labels)} labels: give one label for each video")
    return _sheet(videos, [[(word, INK) for word in label.split()] for label in labels])


def _sheet(videos: Sequence[Frames], labels: Sequence[Sequence[Word]]) -> Image.Image:
    from PIL import Image, ImageDraw

    strips = [_strip(video) for video in videos]
    height, width = strips[0].shape[:2]
    words = [_wrapped(label, width) for label in labels]
    label = LINE * max(len(lines) for lines in words)
    columns = max(1, min(len(strips), WIDTH // (width + GAP)))
    rows = -(-len(strips) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (label + height + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (strip, lines) in enumerate(zip(strips, words, strict=True)):
        left, top = GAP + place % columns * (width + GAP), GAP + place // columns * (label + height + GAP)
        for number, line in enumerate(lines):
            at = float(left)
            for word, color in line:
                draw.text((at, top + number * LINE), word, fill=color)
                at += draw.textlength(f"{word} ")
        sheet.paste(Image.fromarray(strip), (left, top + label))
    return sheet


def _words(video: Frames, case: Case) -> list[Word]:
    """What stands above a clip: the misread attributes, then the prompt."""
    wrong = misread(video, case.scene, still_image=len(video) == 1)
    return [*((word, RED) for word in wrong), *((word, INK) for word in case.prompt.split())]


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


def _strip(video: Frames) -> Frames:
    """Frames from first to last in a row, enlarged."""
    some = np.linspace(0, len(video) - 1, min(SHOWN, len(video))).round().astype(int)
    scale = max(1, -(-SIDE // max(video.shape[1:3])))
    pictures = video[some].repeat(scale, axis=1).repeat(scale, axis=2)
    apart = np.pad(pictures, ((0, 0), (0, 0), (0, BETWEEN), (0, 0)), constant_values=255)
    return np.concatenate(list(apart), axis=1)[:, :-BETWEEN]
