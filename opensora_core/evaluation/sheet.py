"""Generated videos on one picture, each with its prompt and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidInputError
from ..media.sheet import INK, Word, labelled_sheet
from ..media.video import Frames
from ..synthetic.adherence import misread
from .cases import Case

if TYPE_CHECKING:
    from PIL import Image

RED = (200, 30, 30)


def contact_sheet(videos: Sequence[Frames], cases: Sequence[Case], *, limit: int = 20) -> Image.Image:
    """A Pillow image of the first `limit` videos: frames spread over each, prompt above, misread attributes in red.

    Videos uint8 [T, H, W, 3], all of one shape.
    """
    if len(videos) != len(cases) or not cases:
        raise InvalidInputError(f"{len(videos)} videos and {len(cases)} cases: give one case for each video")
    shown = list(zip(videos, cases, strict=True))[:limit]
    return labelled_sheet(videos[:limit], [_words(video, case) for video, case in shown])


def _words(video: Frames, case: Case) -> list[Word]:
    """What stands above a clip: the misread attributes, then the prompt."""
    wrong = misread(video, case.scene, still_image=len(video) == 1)
    return [*((word, RED) for word in wrong), *((word, INK) for word in case.prompt.split())]
