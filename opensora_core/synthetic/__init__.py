"""Synthetic prompted videos, without end and without files: what the embedded model is trained and judged on."""

from .adherence import Adherence, score
from .prompts import describe, vocabulary
from .reader import Reading, read
from .renderer import render
from .scene import (
    BACKGROUNDS,
    COLORS,
    MOTIONS,
    PALETTE,
    SHAPES,
    SIZES,
    Scene,
    held_out,
)
from .world import EASY, FULL, SWING, Split, World

__all__ = [
    "BACKGROUNDS",
    "COLORS",
    "EASY",
    "FULL",
    "MOTIONS",
    "PALETTE",
    "SHAPES",
    "SIZES",
    "SWING",
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
