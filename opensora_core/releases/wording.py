"""What each release reads at the end of a prompt: scores and the frame rate, as it was trained on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..conditioning.prompts import RELEASED_MOTION, add_fps, add_motion_score, add_score_words, add_scores


class Scores(NamedTuple):
    """Scores of the video that is wanted, None where none is said, and its frames per second."""

    aesthetic: float | None
    motion: float | None
    camera_motion: str | None
    fps: float


Wording = Callable[[str, Scores], str]
"""wording(text, scores) -> the text with what the release reads at its end"""


def plain(text: str, scores: Scores) -> str:
    """v1.0 and v1.1: the text as it is."""
    return text


def scores_v1_2(text: str, scores: Scores) -> str:
    """v1.2: numbers."""
    return add_scores(text, scores.aesthetic, scores.motion, scores.camera_motion)


def words_v1_3(text: str, scores: Scores) -> str:
    """v1.3: words for the numbers."""
    return add_score_words(text, scores.aesthetic, scores.motion)


def endings_v2_0(text: str, scores: Scores) -> str:
    """v2.0: the frame rate, then the motion score."""
    return add_motion_score(add_fps(text, scores.fps), RELEASED_MOTION if scores.motion is None else scores.motion)
