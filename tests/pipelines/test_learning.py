"""Training a loaded model step by step."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError, NonFiniteError
from tests.pipelines.models import PROMPT, clip, make

CAPTIONS = [PROMPT, "a large green star"]


def batch(model):
    return model.encode(np.stack([clip(), clip(seed=1)]))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_one_batch_is_learned_in_30_steps(backend):
    model = make(backend)
    z = batch(model)
    losses = [model.train_step(z, CAPTIONS, seed=0, learning_rate=3e-3) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert np.mean(losses[20:]) < np.mean(losses[10:20]) < np.mean(losses[:10])


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
@pytest.mark.parametrize("num_frames", [1, 5])
def test_numpy_and_torch_learn_the_same(prediction, num_frames):
    ours, theirs = (make(backend, prediction=prediction) for backend in ("numpy", "torch"))
    z = batch(ours)[:, :, : 1 + num_frames // 4]
    first = [model.train_step(z, CAPTIONS, seed=3) for model in (ours, theirs)]
    assert first[0] == pytest.approx(first[1], rel=1e-5)
    second = [model.train_step(z, CAPTIONS, seed=4) for model in (ours, theirs)]
    assert second[0] == pytest.approx(second[1], rel=1e-3)
    assert second[0] != pytest.approx(first[0], rel=1e-3)


def test_the_seed_decides_and_only_the_denoiser_learns():
    one, again, other = make(), make(), make()
    z = batch(one)
    before = one.state_dict()
    losses = [m.train_step(z, CAPTIONS, seed=s) for m, s in ((one, 0), (again, 0), (other, 1))]
    assert losses[0] == losses[1] != losses[2]
    assert one.to_bytes() == again.to_bytes() != other.to_bytes()
    changed = {name for name, a in one.state_dict().items() if not np.array_equal(a, before[name])}
    assert {name.split(".")[0] for name in changed} == {"denoiser"}
    assert "denoiser.rope.freqs" not in changed
    assert len(changed) > 0.9 * sum(name.startswith("denoiser.") for name in before)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_updates_too_small_for_half_precision_add_up(backend):
    model = make(backend, "bfloat16")
    z = batch(model)
    ones = "denoiser.temporal_blocks.0.attn.q_norm.weight"
    start = model.state_dict()[ones]
    assert (start == 1).all()  # beside 1, bfloat16 has steps of 0.004 and 0.008
    for _ in range(12):
        model.train_step(z, CAPTIONS, seed=0, learning_rate=6e-4)
    end = model.state_dict()[ones]
    assert end.dtype == start.dtype
    assert (end != 1).any()


def test_weights_that_were_loaded_are_those_that_learn_on():
    model, fresh = make("torch", "bfloat16"), make("torch", "bfloat16")
    z, start = batch(model), fresh.state_dict()
    for _ in range(3):
        model.train_step(z, CAPTIONS, seed=0, learning_rate=0.05)
    model.load_state_dict(start)
    losses = [m.train_step(z, CAPTIONS, seed=5, learning_rate=0.05) for m in (model, fresh)]
    assert losses[0] == losses[1]
    assert model.to_bytes() == fresh.to_bytes()


def test_a_loss_that_is_no_number_changes_nothing():
    model = make()
    z = batch(model)
    model.train_step(z, CAPTIONS, seed=0)
    before = model.to_bytes()
    with pytest.raises(NonFiniteError, match="the training loss is nan"):
        model.train_step(z * np.nan, CAPTIONS, seed=1)
    assert model.to_bytes() == before
    twin = make()
    for m in (model, twin):
        m.load_state_dict(model.state_dict())
    assert model.train_step(z, CAPTIONS, seed=2) == twin.train_step(z, CAPTIONS, seed=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": PROMPT}, "text='a red circle.* must be a list of captions"),
        ({"text": [1, 2]}, "must be a list of captions"),
        ({"text": [PROMPT]}, "2 latents need 2 captions, got 1"),
        ({"latents": np.zeros((2, 3, 2, 2, 2))}, r"must be \[B, 4, T, h, w\]"),
        ({"seed": -1}, "seed=-1 must be a whole number of at least 0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0 must be a number of at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(options, words):
    with pytest.raises(InvalidInputError, match=words):
        make().train_step(**{"latents": np.zeros((2, 4, 2, 2, 2)), "text": CAPTIONS, "seed": 0, **options})
