"""What a training sample of v1.3 and v2.0 is given: a condition type drawn by its weight, and captions left out.

`none` and `t2v` give nothing. The other types give the frames that they give in generation
(`opensora_core.conditioning.given_frames`); two of v1.3 exist in training only: `v2v_head_noisy`, the frames of
`v2v_head` with noise on them, and `other`, any frames. How much noise and which frames is not published: here `other`
gives each frame or not by the toss of a coin, and `noisy` leaves the noise to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..checks import number, table
from ..errors import InvalidInputError
from ..training.masks import Mask
from .given_frames import TYPES_V13, Frames, given_frames

WEIGHTS_V13 = {
    "i2v_head": 5, "i2v_tail": 2, "i2v_loop": 2, "v2v_head": 1, "v2v_head_noisy": 2, "v2v_tail": 1, "other": 1,
    "none": 2,
}  # fmt: skip
WEIGHTS_V2 = {"i2v_head": 5, "i2v_loop": 1, "i2v_tail": 1, "t2v": 1}
CAPTION_DROP_V2 = 0.31622777  # of T5's caption and of CLIP's, each for itself: both are left out for one in ten
TRAINING_ONLY = ("none", "v2v_head_noisy", "other")


class DrawnCondition(NamedTuple):
    """A condition type, the latent frames [T] that it gives (True = given), and whether they are to be noised."""

    kind: str
    given: Mask
    noisy: bool


def draw_condition(
    rng: np.random.Generator,
    num_frames: int,
    weights: Mapping[str, float] = WEIGHTS_V13,
    types: Mapping[str, Frames] = TYPES_V13,
) -> DrawnCondition:
    """The condition of one sample of so many latent frames; an image is never given any.

    weights: of the types; see `WEIGHTS_V13` and, with types=TYPES_V2, `WEIGHTS_V2`. At least one frame is left to be
    generated. Raises InvalidInputError for types that are not known, and for weights that are negative or all zero.
    """
    for kind, weight in table("weights", weights, (*types, *TRAINING_ONLY)).items():
        number(f"weight of {kind}", weight, 0)
    total = sum(weights.values())
    if not total:
        raise InvalidInputError(f"weights={dict(weights)} must not all be 0")
    kind = str(rng.choice(list(weights), p=[weight / total for weight in weights.values()]))
    given = np.zeros(num_frames, bool)
    if num_frames > 1:
        given[_indices(rng, kind, num_frames, types)] = True
        given[-1] &= not given.all()
    return DrawnCondition(kind, given, kind == "v2v_head_noisy")


def draw_captions_v2(rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether a sample of v2.0 keeps T5's caption, and CLIP's; what is left out is the encoding of an empty text."""
    t5, clip = rng.random(2) >= CAPTION_DROP_V2
    return bool(t5), bool(clip)


def _indices(rng: np.random.Generator, kind: str, num_frames: int, types: Mapping[str, Frames]) -> list[int]:
    if kind == "none":
        return []
    if kind == "other":
        return [int(frame) for frame in np.flatnonzero(rng.random(num_frames) < 0.5)]
    return list(given_frames(kind.removesuffix("_noisy"), num_frames, dict(types)))
