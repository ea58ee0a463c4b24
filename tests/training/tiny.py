"""Recipes and models that train in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opensora_core.pipelines.training import make_trainer
from opensora_core.training.recipe import Recipe, recipe_from_dict
from opensora_core.training.trainer import Trainer
from tests.pipelines.models import NANO, make

IMAGE = {"num_frames": 1, "height": 16, "width": 16, "batch_size": 3}
CLIP = {"num_frames": 5, "height": 16, "width": 24, "batch_size": 2, "fps": [4.0, 8.0]}
MASKS = {"image_head": 0.3, "random": 0.3}


def recipe(**changes: Any) -> Recipe:
    """Images, then images and clips: 3 + 5 steps unless told otherwise."""
    values = {
        "denoiser": NANO.denoiser.to_dict(),
        "stages": [
            {"name": "images", "steps": 3, "warmup_steps": 1, "buckets": [IMAGE]},
            {"name": "clips", "steps": 5, "warmup_steps": 2, "final_rate": 0.5, "mask_ratios": MASKS,
             "world": "full", "free_placement": 0.5, "buckets": [CLIP, {**IMAGE, "weight": 0.5}]},
        ],
    }  # fmt: skip
    return recipe_from_dict({**values, **changes})


def trainer(backend: str = "numpy", folder: Path | None = None, **changes: Any) -> Trainer:
    """A trainer of the tiny recipe."""
    return make_trainer(make(backend), recipe(**changes), folder)
