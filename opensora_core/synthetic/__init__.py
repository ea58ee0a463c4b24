"""Synthetic prompted videos, without end and without files: what the embedded model is trained and judged on."""

from opensora_core.synthetic.adherence import Adherence, score
from opensora_core.synthetic.prompts import describe, vocabulary
from opensora_core.synthetic.reader import Reading, read
from opensora_core.synthetic.renderer import render
from opensora_core.synthetic.scene import (
    BACKGROUNDS,
    COLORS,
    MOTIONS,
    PALETTE,
    SHAPES,
    SIZES,
    Scene,
    held_out,
)
from opensora_core.synthetic.world import EASY, FULL, Split, World

__all__ = [
    "BACKGROUNDS",
    "COLORS",
    "EASY",
    "FULL",
    "MOTIONS",
    "PALETTE",
    "SHAPES",
    "SIZES",
    "Adherence",
    "Reading",
    "Scene",
    "Split",
    "World",
    "describe",
    "held_out",
    "read",
    "render",
    "score",
    "vocabulary",
]
