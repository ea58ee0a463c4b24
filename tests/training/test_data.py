"""Batches: fixed by the seed and the step, prepared ahead by a thread that ends when nobody wants more."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from opensora_core.pipelines.frames import padded_size
from opensora_core.schedulers.timesteps import shift_timesteps
from opensora_core.synthetic import prompts
from opensora_core.synthetic.scene import held_out
from opensora_core.synthetic.world import World
from opensora_core.text.tokenizer import WordTokenizer
from opensora_core.training.data import Batch, make_batch, prefetch
from opensora_core.training.recipe import Bucket
from tests.pipelines.models import NANO, make
from tests.training.tiny import IMAGE, recipe, trainer

TOKENIZER = WordTokenizer(prompts.vocabulary(), 12)
BUCKET = Bucket(1, 16, 16, 1)


def no_latents(frames):
    """An encoder that keeps only shapes."""
    B, T = frames.shape[:2]
    return np.zeros((B, 4, 1 + -(-(T - 1) // 4), frames.shape[2] // 8, frames.shape[3] // 8), np.float32)


def equal(a: Batch, b: Batch) -> bool:
    same = all(np.array_equal(a.arrays[name], b.arrays[name]) for name in a.arrays)
    return a.bucket == b.bucket and a.arrays.keys() == b.arrays.keys() and same


def test_a_batch_is_the_same_whoever_asks_for_it_and_when():
    encode = make().encode
    ahead = list(prefetch(lambda step: make_batch(recipe(), step, TOKENIZER, encode), 2, 8))
    assert all(equal(batch, make_batch(recipe(), step, TOKENIZER, encode)) for step, batch in enumerate(ahead, 2))
    assert not equal(ahead[0], make_batch(recipe(seed=1), 2, TOKENIZER, encode))
    kinds = {batch.bucket.num_frames for batch in ahead}
    assert kinds == {1, 5}


def test_a_batch_holds_what_the_objective_wants():
    model = make()
    seen = Counter()
    for step in range(3, 8):
        batch = make_batch(recipe(), step, TOKENIZER, model.encode)
        n, T = batch.bucket.batch_size, 1 + (batch.bucket.num_frames - 1) // 4
        height, width = (size // 8 for size in padded_size(NANO, batch.bucket.height, batch.bucket.width))
        shapes = {name: (a.shape, str(a.dtype)) for name, a in batch.arrays.items()}
        expected = {
            "latents": ((n, 4, T, height, width), "float32"), "noise": ((n, 4, T, height, width), "float32"),
            "t": ((n,), "float32"), "ids": ((n, 12), "int64"), "text_mask": ((n, 12), "bool"), "fps": ((n,), "float32"),
            "drop": ((n,), "bool"), **({"x_mask": ((n, T), "bool")} if T > 1 else {}),
        }  # fmt: skip
        assert shapes == expected
        assert ((batch.arrays["t"] > 0) & (batch.arrays["t"] < 1000)).all()
        assert set(batch.arrays["fps"].tolist()) <= ({120.0} if T == 1 else {4.0, 8.0})
        assert np.abs(batch.arrays["latents"]).max() > 0
        seen[T] += 1
    assert set(seen) == {1, 2}


def test_times_are_drawn_and_shifted_as_the_recipe_says():
    stages = [{"name": "images", "steps": 3, "buckets": [IMAGE]}]

    def times(**changes):
        return make_batch(recipe(stages=stages, **changes), 2, TOKENIZER, no_latents).arrays["t"]

    by_size = times(timestep_shift=2.0, shift_by_size=True)
    expected = shift_timesteps(times(timestep_shift=1.0), 2 * IMAGE["height"] / 512)
    assert by_size == pytest.approx(expected, rel=1e-5)
    assert (by_size < times(timestep_shift=2.0)).all()
    whole = times(timestep_method="discrete", timestep_shift=1.0)
    assert whole == pytest.approx(np.round(whole), abs=1e-3)
    assert not np.allclose(times(timestep_method="uniform"), times())


def test_shares_are_those_of_the_recipe():
    made = recipe()
    stage = replace(
        made.stages[1], steps=1500, caption_dropout=0.25, mask_ratios={"image_head": 0.5},
        buckets=(replace(BUCKET, num_frames=5, weight=3, fps=(2.0, 8.0)), BUCKET),
    )  # fmt: skip
    made = replace(made, stages=(stage,))
    batches = [make_batch(made, step, TOKENIZER, no_latents) for step in range(0, 1500, 2)]
    clips = [batch for batch in batches if batch.bucket.num_frames == 5]
    share = {
        "clips": len(clips) / len(batches),
        "dropped": np.mean([batch.arrays["drop"][0] for batch in batches]),
        "slow": np.mean([batch.arrays["fps"][0] == 2 for batch in clips]),
        "masked": np.mean([not batch.arrays["x_mask"].all() for batch in clips]),
    }
    expected = {"clips": 0.75, "dropped": 0.25, "slow": 0.5, "masked": 0.5}
    assert all(abs(share[name] - expected[name]) < 0.08 for name in expected), share


def test_held_out_scenes_are_never_drawn(monkeypatch):
    drawn = set()
    sample = World.sample

    def watch(self, rng, split="any"):
        scene = sample(self, rng, split)
        drawn.add(scene)
        return scene

    still = np.zeros((1, 16, 16, 3), np.uint8)
    monkeypatch.setattr(World, "sample", watch)
    monkeypatch.setattr(World, "render", lambda self, scene, rng, **size: still)
    made = recipe(
        stages=[{"name": "a", "steps": 400, "world": "full", "buckets": [{**vars(BUCKET), "batch_size": 10}]}]
    )
    for step in range(400):
        make_batch(made, step, TOKENIZER, no_latents)
    assert len(drawn) > 2500
    assert not any(held_out(scene) for scene in drawn)


def test_an_image_is_described_without_its_motion_and_shows_any_moment_of_it(monkeypatch):
    starts, render = [], World.render

    def watch(self, scene, rng, **size):
        starts.append((size["num_frames"], size["start"]))
        return render(self, scene, rng, **size)

    monkeypatch.setattr(World, "render", watch)
    for step in range(8):
        make_batch(recipe(), step, TOKENIZER, no_latents)
    images, clips = ([start for n, start in starts if n == count] for count in (1, 5))
    assert len(images) > 8
    assert min(images) < 0.7
    assert 1.3 < max(images) < 2
    assert set(clips) == {0.0}


# ---------------------------------------------------------------------- ahead of time


def numbered(step):
    return Batch(BUCKET, {"step": np.array(step)})


def test_batches_come_in_order_and_the_thread_ends_with_them():
    before = threading.active_count()
    assert [int(b.arrays["step"]) for b in prefetch(numbered, 5, 25, depth=3)] == list(range(5, 25))
    assert threading.active_count() == before
    assert list(prefetch(numbered, 5, 5)) == []


def test_batches_are_prepared_while_nobody_asks_and_no_further_than_the_depth():
    made = []

    def make(step):
        made.append(step)
        return numbered(step)

    batches = prefetch(make, 0, 100, depth=3)
    next(batches)
    deadline = time.monotonic() + 10
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3, 4]  # one taken, three waiting, one in the thread's hands
    batches.close()


def test_an_exception_comes_out_after_the_batches_before_it():
    def make(step):
        if step == 3:
            raise ZeroDivisionError("in the thread")
        return numbered(step)

    batches = prefetch(make, 0, 10)
    assert [int(next(batches).arrays["step"]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        next(batches)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_early_stops_the_thread(taken):
    before = threading.active_count()
    batches = prefetch(numbered, 0, 10**9, depth=2)
    for _ in range(taken):
        next(batches)
    batches.close()
    assert threading.active_count() == before


def test_a_trainer_that_is_left_early_leaves_no_thread_behind():
    before = threading.active_count()
    run = trainer().run()
    next(run)
    run.close()
    assert threading.active_count() == before
