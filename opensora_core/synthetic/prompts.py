"""Prompts for scenes, put together from the word tables, and the vocabulary they need."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from .scene import Scene
from .words import (
    ACTIONS,
    ARTICLES,
    CANONICAL_LAYOUT,
    CANONICAL_MOTION,
    COLOR_WORDS,
    DOINGS,
    EXTRA_WORDS,
    IMAGE_LAYOUTS,
    IMAGE_OPENINGS,
    LAYOUTS,
    NEW_ACTIONS,
    NEW_DOINGS,
    OBJECTS,
    PARTICIPLES,
    PLACES,
    SHAPE_WORDS,
    SIZE_WORDS,
    VERBS,
    VIDEO_OPENINGS,
    WAYS,
)

CANONICAL = CANONICAL_MOTION | {motion: phrases[0] for motion, phrases in NEW_ACTIONS.items()}


def describe(scene: Scene, rng: np.random.Generator, *, canonical: bool = False, still_image: bool = False) -> str:
    """A prompt for `scene` in free wording, at most 24 words, drawn by `rng`.

    Args:
        scene: what to describe.
        rng: draws words and layout; left alone when `canonical`.
        canonical: the one plain wording instead, "a large red circle moves right on a blue background".
        still_image: leave the motion out.
    """
    if canonical:
        return _canonical(scene, still_image)
    layout = _pick(rng, IMAGE_LAYOUTS if still_image else LAYOUTS)
    words = {
        "opening": _pick(rng, IMAGE_OPENINGS if still_image else VIDEO_OPENINGS),
        "article": _pick(rng, ARTICLES),
        "object": _object(scene, rng),
        "motion": _motion(scene.motion, rng, VERBS, ACTIONS | NEW_ACTIONS),
        "doing": _motion(scene.motion, rng, PARTICIPLES, DOINGS | NEW_DOINGS),
        "place": _pick(rng, PLACES).format(color=_pick(rng, COLOR_WORDS[scene.background])),
    }
    return _tidy(layout.format(**words))


def vocabulary() -> tuple[str, ...]:
    """Every word that `describe` can say of a scene of the full world, and `EXTRA_WORDS`, sorted."""
    by_attribute = (COLOR_WORDS, SHAPE_WORDS, SIZE_WORDS, WAYS, ACTIONS, DOINGS)
    plain = (VERBS, PARTICIPLES, ARTICLES, OBJECTS, PLACES, VIDEO_OPENINGS, IMAGE_OPENINGS, LAYOUTS, EXTRA_WORDS)
    words = {word for table in by_attribute for phrases in table.values() for word in _words(phrases)}
    words |= {word for phrases in plain for word in _words(phrases)}
    words |= {*_words(CANONICAL_MOTION.values()), *_words((CANONICAL_LAYOUT,)), "an"}
    return tuple(sorted(words))


def _words(phrases: Iterable[str]) -> list[str]:
    return [word for phrase in phrases for word in re.findall("[a-z]+", re.sub(r"\{.*?\}", " ", phrase))]


def _canonical(scene: Scene, still_image: bool) -> str:
    return _tidy(
        CANONICAL_LAYOUT.format(
            size="" if scene.size == "medium" else scene.size,
            color=scene.color,
            shape=scene.shape,
            motion="" if still_image else CANONICAL[scene.motion],
            background=scene.background,
        )
    )


def _object(scene: Scene, rng: np.random.Generator) -> str:
    return _pick(rng, OBJECTS).format(
        size=_pick(rng, SIZE_WORDS[scene.size]),
        color=_pick(rng, COLOR_WORDS[scene.color]),
        shape=_pick(rng, SHAPE_WORDS[scene.shape]),
    )


def _motion(motion: str, rng: np.random.Generator, verbs: tuple[str, ...], own: dict[str, tuple[str, ...]]) -> str:
    """A verb with a way to go, or one of the motion's own phrases: every way and every phrase equally often."""
    ways, phrases = WAYS.get(motion, ()), own.get(motion, ())
    choice = rng.integers(len(ways) + len(phrases))
    if choice < len(ways):
        return f"{_pick(rng, verbs)} {ways[choice]}"
    return phrases[choice - len(ways)]


def _tidy(text: str) -> str:
    """Single spaces, and `an` before a vowel."""
    text = " ".join(text.split()).replace(" ,", ",")
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[rng.integers(len(choices))]
