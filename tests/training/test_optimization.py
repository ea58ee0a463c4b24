"""What a recipe says of the optimizer: its numbers, batches in parts, schedules, and the average."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.training.data import parts
from opensora_core.training.optimizer import AdamW
from opensora_core.training.recipe import Bucket, Stage, load_recipe
from tests.training.tiny import IMAGE, recipe, trainer

BUCKET = Bucket(**IMAGE)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("count", [2, 8])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(backend, count):
    whole, cut = trainer(backend), trainer(backend, accumulate=count)
    batch = whole.batch(0)
    assert len(batch.arrays["t"]) == 3
    (loss, grads), (value, summed) = (made._learner.gradients(made.state, batch) for made in (whole, cut))
    assert value == pytest.approx(loss, rel=1e-6)
    largest = max(abs(whole.ops.to_numpy(g)).max() for g in grads.values())
    for name, g in grads.items():
        np.testing.assert_allclose(cut.ops.to_numpy(summed[name]), whole.ops.to_numpy(g), atol=1e-6 * largest)
    assert whole.step(batch) == pytest.approx(cut.step(batch), rel=1e-6)
    later = whole.batch(3)  # of clips, with frames that are given
    assert whole.step(later) == pytest.approx(cut.step(later), rel=1e-4)


def test_parts_are_a_batch_cut_in_order():
    batch = trainer().batch(0)
    cut = parts(batch, 2)
    assert [share for _, share in cut] == [2 / 3, 1 / 3]
    for name, array in batch.arrays.items():
        assert np.array_equal(np.concatenate([part.arrays[name] for part, _ in cut]), array)
    assert len(parts(batch, 8)) == 3


def test_a_recipe_sets_the_numbers_of_the_optimizer():
    made = recipe(optimizer={"betas": [0.8, 0.9], "eps": 1e-10, "weight_decay": 0.1, "clip_norm": 0.5})
    assert made.optimizer == AdamW(betas=(0.8, 0.9), eps=1e-10, weight_decay=0.1, clip_norm=0.5)
    assert recipe().optimizer == AdamW()
    plain, decayed = trainer(), trainer(optimizer={"weight_decay": 0.5})
    batch = plain.batch(0)
    plain.step(batch), decayed.step(batch)
    name, rate = "x_embedder.proj.weight", plain.recipe.stages[0].rate(0)
    start = trainer().state.params[name]
    expected = plain.state.params[name] - rate * 0.5 * start
    np.testing.assert_allclose(decayed.state.params[name], expected, rtol=1e-5, atol=1e-7)


def test_open_sora_trains_with_its_own_numbers():
    official = load_recipe("open-sora-v1.2")
    assert official.optimizer == AdamW(betas=(0.9, 0.999), eps=1e-15, weight_decay=0.0, clip_norm=1.0)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"learning_rate": 1e-3}, r"optimizer has no learning_rate of its own: each of the \[\[stages\]\] has one"),
        ({"betas": [0.9]}, "optimizer: betas=.* must be a list of two numbers"),
        ({"betas": [0.9, 1]}, "a moment at 1 would never move"),
        ({"eps": 0}, "eps=0 must be a number above 0"),
        ({"clip_norm": 0}, "clip_norm=0 must be a number above 0"),
        ({"weight_decay": -1}, "weight_decay=-1 must be"),
        ({"beta1": 0.9}, r"unknown optimizer fields \['beta1'\]"),
    ],
)
def test_a_mistake_is_named(changed, words):
    with pytest.raises(InvalidInputError, match=words):
        recipe(optimizer=changed)


def test_a_rate_may_fall_along_half_a_cosine_or_not_at_all():
    stage = Stage("a", 100, (BUCKET,), learning_rate=2.0, warmup_steps=0, final_rate=0.25, schedule="cosine")
    assert stage.rate(0) == 2.0
    assert stage.rate(50) == pytest.approx(2 * (0.25 + 0.75 / 2))
    assert stage.rate(25) == pytest.approx(2 * (0.25 + 0.75 * (1 + math.sqrt(0.5)) / 2))
    assert stage.rate(100) == pytest.approx(0.5)
    assert all(a > b for a, b in pairwise(map(stage.rate, range(101))))
    warm = Stage("a", 100, (BUCKET,), learning_rate=2.0, warmup_steps=9, final_rate=0.25, schedule="cosine")
    assert warm.rate(0) == pytest.approx(0.2)
    assert warm.rate(50) == stage.rate(50)
    flat = Stage("a", 10, (BUCKET,), learning_rate=2.0, warmup_steps=1, schedule="constant")
    assert [flat.rate(i) for i in range(10)] == [1.0] + [2.0] * 9
    with pytest.raises(InvalidInputError, match=r'final_rate=0\.5 and schedule "constant" exclude each other'):
        Stage("a", 10, (BUCKET,), final_rate=0.5, schedule="constant")
    with pytest.raises(InvalidInputError, match="schedule='step' is not one of constant, linear, cosine"):
        Stage("a", 10, (BUCKET,), schedule="step")


def test_without_an_average_the_model_is_the_weights():
    made = trainer(ema_decay=0)
    made.fit(lambda step: step.step < 3)
    assert all(made.state.ema[name] is p for name, p in made.state.params.items())
