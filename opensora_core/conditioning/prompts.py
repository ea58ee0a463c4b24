"""Prompts as the official releases take them: with references, as a schedule over a long video, and with scores."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import InvalidInputError

RELEASED_AESTHETIC = 6.5  # the score v1.2 generates with
RELEASED_MOTION = 4  # the score v2.0 generates with
AESTHETIC_WORDS = ((4, "terrible"), (4.5, "very poor"), (5, "poor"), (5.5, "fair"), (6, "good"), (6.5, "very good"))
MOTION_WORDS = ((0.5, "very low"), (2, "low"), (5, "fair"), (10, "high"), (20, "very high"))


class PromptParts(NamedTuple):
    """A prompt, the paths of its references separated by `;`, and its mask strategy; empty where there are none."""

    text: str
    reference_path: str = ""
    mask_strategy: str = ""


class Segment(NamedTuple):
    """A text and the loop from which on it holds; None: the text of the whole video."""

    loop: int | None
    text: str


def split_prompt(prompt: str) -> PromptParts:
    """Take the JSON object off the end of a prompt (v1.2), such as {"reference_path": "a.png", "mask_strategy": "0"}.

    Raises InvalidInputError where what follows the first `{` is no such object.
    """
    text, brace, rest = prompt.partition("{")
    if not brace:
        return PromptParts(prompt)
    try:
        fields = json.loads(brace + rest)
    except ValueError as error:
        raise InvalidInputError(f"prompt {prompt!r}: what follows the first {{ is no JSON object ({error})") from None
    if not fields.keys() <= {"reference_path", "mask_strategy"} or not all(isinstance(v, str) for v in fields.values()):
        raise InvalidInputError(f"prompt {prompt!r}: the object may hold reference_path and mask_strategy, both text")
    return PromptParts(text, **fields)


def split_schedule(text: str) -> list[Segment]:
    """Read `|0|first text|2|text from loop 2 on`; a text without bars is one segment for the whole video.

    Raises InvalidInputError for loops that do not begin at 0 and rise.
    """
    if not re.match(r"\s*\|\d+\|", text):
        return [Segment(None, text)]
    parts = re.split(r"\|(\d+)\|", text)[1:]
    segments = [Segment(int(loop), part.strip()) for loop, part in zip(parts[::2], parts[1::2], strict=True)]
    loops = [int(loop) for loop in parts[::2]]
    if loops[0] != 0 or loops != sorted(set(loops)):
        raise InvalidInputError(f"the loops of prompt {text!r} must begin at 0 and rise, not be {loops}")
    return segments


def merge_schedule(segments: Sequence[Segment]) -> str:
    """Undo `split_schedule`."""
    return "".join(text if loop is None else f"|{loop}|{text}" for loop, text in segments)


def text_of_loop(segments: Sequence[Segment], loop: int) -> str:
    """The text that holds in one loop of a long video."""
    return [segment.text for segment in segments if segment.loop is None or segment.loop <= loop][-1]


# ---------------------------------------------------------------------- scores


def add_scores(
    text: str, aesthetic: float | None = None, motion: float | None = None, camera_motion: str | None = None
) -> str:
    """Append scores as v1.2 was trained on them; those that are None, or in the text already, are left out."""
    scores = (
        ("aesthetic score", None if aesthetic is None else f"{aesthetic:.1f}"),
        ("motion score", None if motion is None else f"{motion:.1f}"),
        ("camera motion", camera_motion),
    )
    for name, value in scores:
        if value is not None and f"{name}:" not in text:
            text = f"{text} {name}: {value}."
    return text


def add_score_words(text: str, aesthetic: float | None = None, motion: float | None = None) -> str:
    """Append scores in the words of v1.3."""
    if aesthetic is not None:
        text = f"{text} The aesthetic score is {_word(aesthetic, AESTHETIC_WORDS, 'excellent')}."
    if motion is not None:
        text = f"{text} The motion strength is {_word(motion, MOTION_WORDS, 'extremely high')}."
    return text


def add_fps(text: str, fps: float = 24) -> str:
    """End a prompt of v2.0 with a period and its frame rate, unless it names one at its end."""
    text = text.strip()
    if re.search(r"\d+ FPS\.$", text):
        return text
    return f"{text}{'' if text.endswith('.') else '.'} {fps:g} FPS."


def add_motion_score(text: str, motion: float = RELEASED_MOTION) -> str:
    """End a prompt of v2.0 with its motion score."""
    return f"{text} {motion:g} motion score."


def _word(score: float, words: Sequence[tuple[float, str]], highest: str) -> str:
    return next((word for bound, word in words if score < bound), highest)
