"""What a synthetic clip shows: one object with five attributes, and the triples that no training ever sees."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidInputError

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
ROUND_SHAPES = ("circle", "ring")  # which look the same however they are turned
COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black")
BACKGROUNDS = ("black", "white", "gray", "blue", "green", "red", "yellow", "purple")
SIZES = ("small", "medium", "large")
STRAIGHT_MOTIONS = ("right", "left", "up", "down", "upright", "upleft", "downright", "downleft")
RESIZING_MOTIONS = ("grow", "shrink")
PERIODIC_MOTIONS = ("bounce", "orbit", "spin", "blink", "swing")
MOTIONS = (*STRAIGHT_MOTIONS, "bounce", "orbit", *RESIZING_MOTIONS, "spin", "blink", "still")
NEW_MOTIONS = ("swing",)  # which the embedded model never met: what it can be fine-tuned on

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 220, 50),
    "green": (50, 170, 70),
    "cyan": (60, 210, 220),
    "blue": (45, 85, 215),
    "purple": (130, 60, 180),
    "pink": (245, 130, 185),
    "white": (245, 245, 245),
    "black": (18, 18, 18),
    "gray": (128, 128, 128),
}


@dataclass(frozen=True)
class Scene:
    """One object on a plain background: every word comes from the lists of this module.

    Raises:
        InvalidInputError: for a word outside its list, and for what nobody could see: an object of the colour of its
            background, or a circle or ring that spins.
    """

    shape: str
    color: str
    background: str
    size: str
    motion: str

    def __post_init__(self) -> None:
        _require("shape", self.shape, SHAPES)
        _require("color", self.color, COLORS)
        _require("background", self.background, BACKGROUNDS)
        _require("size", self.size, SIZES)
        _require("motion", self.motion, (*MOTIONS, *NEW_MOTIONS))
        reason = why_invisible(self.shape, self.color, self.background, self.motion)
        if reason:
            raise InvalidInputError(reason)


def why_invisible(shape: str, color: str, background: str, motion: str) -> str | None:
    """The reason why these words make no scene (nothing of it could be seen), or None when they do."""
    if color == background:
        return f"a {color} object cannot be seen on a {background} background: choose two different colours"
    if motion == "spin" and shape in ROUND_SHAPES:
        return f"a {shape} looks the same while it spins: choose another shape or another motion"
    return None


def held_out(scene: Scene) -> bool:
    """Whether this (shape, colour, motion) is never trained on: one triple in ten, fixed for every subset of the lists.

    Of a new motion, which few clips are to teach, it is every other triple.

    The triple's index in the full lists is scrambled by Knuth's multiplicative hash, so that each shape, colour and
    motion is met in training, but not each combination.
    """
    triple = (SHAPES.index(scene.shape) * len(COLORS) + COLORS.index(scene.color)) * len(MOTIONS)
    triple += (*MOTIONS, *NEW_MOTIONS).index(scene.motion)
    return (triple * 2654435761 % 2**32) % 1000 < (500 if scene.motion in NEW_MOTIONS else 100)


def _require(attribute: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise InvalidInputError(f"{attribute}={value!r} is not one of {', '.join(legal)}")
