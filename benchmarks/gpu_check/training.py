"""Longer training of the embedded model's recipe on this backend; its checkpoints and log go to OUT/training."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import Any

from device import ROOT, Check, missing

AT_ENDS = 10


def run(check: Check) -> dict[str, Any]:
    """Train for the seconds that were asked for, and tell the losses."""
    if absent := missing("safetensors"):
        return {"not_run": f"{', '.join(absent)} is missing: give a folder that has it by --site"}
    from opensora_core.pipelines.training_run import Run, assemble
    from opensora_core.training.recipe import load_recipe

    ops, recipe = check.backend("cuda:0"), ROOT / "opensora_core/assets/embedded.toml"
    run = Run.start(check.out / "training", recipe, assemble(load_recipe(recipe), ops))
    with closing(run.steps(check.train)) as steps:
        losses = [progress.loss for progress in itertools.islice(steps, 1 if check.dry else None)]
    fell = len(losses) < 2 * AT_ENDS or sum(losses[-AT_ENDS:]) < sum(losses[:AT_ENDS])
    found = {"steps": len(losses), "first": losses[:AT_ENDS], "last": losses[-AT_ENDS:]}
    return {**found, "failures": [] if fell else ["the loss rose"]}
