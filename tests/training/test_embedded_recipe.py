"""The recipe of the embedded model, in small batches: twenty steps have the same losses on every backend."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from opensora_core.pipelines.opensora import OpenSora
from opensora_core.pipelines.training import make_trainer
from opensora_core.testing.conformance import require
from opensora_core.training.recipe import Recipe, Stage, load_recipe

STEPS = (10, 6, 4)  # of its stages: images, short clips, clips


def cut() -> Recipe:
    """The shipped recipe with its denoiser, stages, buckets and rates; two samples a batch, and fewer steps."""

    def short(stage: Stage, steps: int) -> Stage:
        buckets = tuple(replace(bucket, batch_size=2) for bucket in stage.buckets)
        return replace(stage, steps=steps, warmup_steps=3, buckets=buckets)

    shipped = load_recipe("embedded")
    stages = tuple(short(stage, steps) for stage, steps in zip(shipped.stages, STEPS, strict=True))
    return replace(shipped, stages=stages, precision="float32")


@functools.cache
def losses(backend: str) -> list[float]:
    return [step.loss for step in make_trainer(OpenSora.from_pretrained(backend=backend), cut()).run()]


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_twenty_steps_are_those_of_numpy(backend):
    require(backend)
    assert len(losses("numpy")) == 20
    assert losses(backend) == pytest.approx(losses("numpy"), rel=1e-4)
    assert max(losses("numpy")[-4:]) < max(losses("numpy")[:4]), "and something is learned"
