"""What a user might say about a scene: synonyms and sentence layouts, all of it in the word tables of this page.

What stands twice in a table is said twice as often. `{color}` and the like are blanks that `describe` fills.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from .scene import Scene

COLOR_WORDS = {
    "red": ("red", "red", "crimson", "scarlet"),
    "orange": ("orange", "orange", "tangerine"),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "emerald"),
    "cyan": ("cyan", "cyan", "turquoise", "aqua"),
    "blue": ("blue", "blue", "azure", "cobalt"),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink", "pink", "rose"),
    "white": ("white", "white", "snowy"),
    "black": ("black", "black", "ebony"),
    "gray": ("gray", "grey"),
}
SHAPE_WORDS = {
    "circle": ("circle", "circle", "ball", "disc", "dot"),
    "square": ("square", "square", "box", "block"),
    "triangle": ("triangle", "triangle", "pyramid"),
    "star": ("star",),
    "cross": ("cross", "cross", "plus"),
    "ring": ("ring", "ring", "hoop", "donut"),
}
SIZE_WORDS = {
    "small": ("small", "tiny", "little"),
    "medium": ("", "", "", "medium"),
    "large": ("large", "big", "huge"),
}

VERBS = ("moves", "travels", "slides", "glides", "drifts", "goes", "floats", "flies", "is moving")
PARTICIPLES = ("moving", "traveling", "sliding", "gliding", "drifting", "going", "floating", "flying")
WAYS = {
    "right": (
        *("right", "right", "to the right", "to the right"),
        *("from left to right", "rightward", "towards the right", "toward the right side"),
    ),
    "left": (
        *("left", "left", "to the left", "to the left"),
        *("from right to left", "leftward", "towards the left", "toward the left side"),
    ),
    "up": ("up", "up", "upward", "upwards", "to the top", "from bottom to top"),
    "down": ("down", "down", "downward", "downwards", "to the bottom", "from top to bottom"),
}
DIAGONAL_WAYS = (
    "diagonally {vertical} and {side}",
    "diagonally {vertical} and to the {side}",
    "{vertical} and to the {side}",
    "{vertical} and {side}",
    "to the {edge} {side}",
    "towards the {edge} {side} corner",
    "diagonally to the {edge} {side}",
    "{vertical} {side}",
)
DIAGONALS = {
    "upright": {"vertical": "up", "edge": "top", "side": "right"},
    "upleft": {"vertical": "up", "edge": "top", "side": "left"},
    "downright": {"vertical": "down", "edge": "bottom", "side": "right"},
    "downleft": {"vertical": "down", "edge": "bottom", "side": "left"},
}
WAYS |= {motion: tuple(way.format(**words) for way in DIAGONAL_WAYS) for motion, words in DIAGONALS.items()}

ACTIONS = {  # said without a verb of motion and a way: "a ball ..."
    "up": ("rises", "climbs"),
    "down": ("falls", "sinks", "drops"),
    "bounce": (
        *("bounces", "bounces", "bounces up and down", "is bouncing"),
        *("hops", "jumps up and down", "is hopping up and down"),
    ),
    "orbit": (
        *("circles around", "moves in a circle", "orbits", "goes around in a circle"),
        *("is circling", "travels in circles", "moves along a circular path", "loops around"),
    ),
    "grow": (
        *("grows", "grows", "gets bigger", "gets larger"),
        *("expands", "is growing", "becomes larger", "inflates"),
    ),
    "shrink": (
        *("shrinks", "shrinks", "gets smaller", "contracts"),
        *("is shrinking", "becomes smaller", "becomes tiny", "deflates"),
    ),
    "spin": (
        *("spins", "spins", "rotates", "is spinning", "is rotating"),
        *("turns around", "twirls", "spins in place", "rotates clockwise"),
    ),
    "blink": (
        *("blinks", "blinks", "flashes", "is blinking", "is flashing"),
        *("flickers on and off", "disappears and reappears", "vanishes and returns"),
    ),
    "still": (
        *("stays still", "stands still", "does not move", "is not moving", "is stationary"),
        *("remains still", "stays in place", "rests", "is motionless"),
    ),
}
DOINGS = {  # the same as participles: "a ball ... on a white background"
    "up": ("rising", "climbing"),
    "down": ("falling", "sinking", "dropping"),
    "bounce": ("bouncing", "bouncing up and down", "hopping", "jumping up and down"),
    "orbit": ("circling around", "moving in a circle", "orbiting", "going around in a circle", "moving in circles"),
    "grow": ("growing", "growing", "getting bigger", "getting larger", "expanding"),
    "shrink": ("shrinking", "shrinking", "getting smaller", "contracting"),
    "spin": ("spinning", "spinning", "rotating", "turning around", "spinning in place"),
    "blink": ("blinking", "blinking", "flashing", "flickering on and off"),
    "still": ("standing still", "staying still", "not moving", "resting"),
}
CANONICAL_MOTION = {
    **{side: f"moves {side}" for side in ("right", "left", "up", "down")},
    **{motion: f"moves {WAYS[motion][0]}" for motion in DIAGONALS},
    **{motion: f"{motion}s" for motion in ("bounce", "grow", "shrink", "spin", "blink")},
    "orbit": "moves in a circle",
    "still": "stays still",
}

ARTICLES = ("a", "a", "a", "the", "one", "")
OBJECTS = ("{size} {color} {shape}",) * 17 + (
    "{size} {shape} colored {color}",
    "{size} {shape} in {color}",
    "{color} {size} {shape}",
)
PLACES = (
    "on a {color} background",
    "on a {color} background",
    "on a {color} background",
    "over a {color} background",
    "in front of a {color} background",
    "against a {color} backdrop",
    "on a {color} backdrop",
    "against a {color} background",
    "with a {color} background",
    "on {color}",
    "over {color}",
)
VIDEO_OPENINGS = ("", "", "", "", "a video of", "an animation of", "a clip of", "a scene where")
IMAGE_OPENINGS = ("", "", "", "an image of", "a picture of", "a photo of")
LAYOUTS = (
    *("{opening} {article} {object} {motion} {place}",) * 17,
    *("{opening} {article} {object} {doing} {place}",) * 3,
    *("{place}, {article} {object} {motion}",) * 3,
    *("{opening} {article} {object} {place}, it {motion}",) * 2,
)
IMAGE_LAYOUTS = ("{opening} {article} {object} {place}",) * 7 + ("{place}, {article} {object}",)
CANONICAL_LAYOUT = "a {size} {color} {shape} {motion} on a {background} background"

EXTRA_WORDS = ("one", "two", "three", "it", "then", "back", "comes", "and", "again", "while", "slowly", "quickly")
"""Words of no table that a user may well try, above all about a clip that exists: "it comes back"."""


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
        "motion": _motion(scene.motion, rng, VERBS, ACTIONS),
        "doing": _motion(scene.motion, rng, PARTICIPLES, DOINGS),
        "place": _pick(rng, PLACES).format(color=_pick(rng, COLOR_WORDS[scene.background])),
    }
    return _tidy(layout.format(**words))


def vocabulary() -> tuple[str, ...]:
    """Every word that `describe` can say and `EXTRA_WORDS`, sorted."""
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
            motion="" if still_image else CANONICAL_MOTION[scene.motion],
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
