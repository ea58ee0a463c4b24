"""Pretraining of the text encoder: captions by seed and step, and a loss that falls."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.module import state_dict, to_backend
from opensora_core.nn.init import RandomInit
from opensora_core.registry import get_backend
from opensora_core.synthetic.prompts import vocabulary
from opensora_core.synthetic.world import EASY, FULL
from opensora_core.text.encoder import TextEncoder, TextEncoderConfig
from opensora_core.text.tokenizer import WordTokenizer
from opensora_core.training.text_pretraining import CLASSES, AttributeReader, caption_batch, pretrain

TOKENIZER = WordTokenizer(vocabulary())
CONFIG = TextEncoderConfig(len(TOKENIZER), hidden_size=32, depth=1, num_heads=2)


def fresh(seed=0):
    return TextEncoder.create(CONFIG, RandomInit(seed))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_sixty_steps_teach_something_and_leave_the_start_alone(backend):
    ops = get_backend(backend)
    start = fresh()
    before = {name: np.array(a) for name, a in state_dict(start).items()}
    reports = list(pretrain(ops, start, TOKENIZER, steps=60, batch_size=16, world=EASY))
    assert [step for step, _, _ in reports] == [60]
    assert all(np.array_equal(a, before[name]) for name, a in state_dict(start).items())
    _, loss, trained = reports[0]
    guess = np.mean([np.log(len(classes)) for classes in CLASSES.values()])
    assert loss < 0.95 * guess  # the rate has only begun to rise
    ids, mask = TOKENIZER.encode_batch(["a red circle"])
    ours, theirs = (
        ops.to_numpy(encoder(ops, ops.asarray(ids), ops.asarray(mask))) for encoder in (trained, to_backend(ops, start))
    )
    assert np.abs(ours - theirs).max() > 0.1


def test_numpy_and_torch_begin_alike():
    losses = [next(pretrain(get_backend(b), fresh(), TOKENIZER, steps=3, batch_size=8))[1] for b in ("numpy", "torch")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_report_comes_every_hundred_steps_and_at_the_end():
    steps = [step for step, _, _ in pretrain(get_backend("numpy"), fresh(), TOKENIZER, steps=101, batch_size=1)]
    assert steps == [100, 101]


def test_captions_are_fixed_by_seed_step_and_split():
    one = caption_batch(TOKENIZER, FULL, 0, 3, 8)
    again = caption_batch(TOKENIZER, FULL, 0, 3, 8)
    assert one.keys() == {"ids", "mask", *(f"target{i}" for i in range(len(CLASSES)))}
    assert all(np.array_equal(one[name], again[name]) for name in one)
    for other in ((1, 3, 8, "train"), (0, 4, 8, "train"), (0, 3, 8, "heldout")):
        assert not np.array_equal(caption_batch(TOKENIZER, FULL, *other)["ids"], one["ids"])


def test_targets_are_one_of_each_attribute_and_some_captions_have_no_motion():
    batch = caption_batch(TOKENIZER, FULL, 0, 0, 200)
    assert batch["ids"].shape == batch["mask"].shape == (200, 24)
    assert batch["mask"].any(axis=1).all()
    for i, classes in enumerate(CLASSES.values()):
        target = batch[f"target{i}"]
        assert target.shape == (200, len(classes))
        assert (target.sum(axis=1) == 1).all()
        assert (target.sum(axis=0) > 0).mean() > 0.8
    still = batch[f"target{list(CLASSES).index('motion')}"][:, CLASSES["motion"].index("still")].mean()
    assert 0.15 < still < 0.4


def test_accuracy_is_told_by_attribute():
    ops = get_backend("numpy")
    batch = caption_batch(TOKENIZER, FULL, 0, 0, 4)

    def sure(i, right):
        def head(ops, pooled):
            target = batch[f"target{i}"]
            return 50.0 * (target if right else np.roll(target, 1, axis=1))

        return head

    reader = AttributeReader(fresh(), tuple(sure(i, right=i % 2 == 0) for i in range(5)))
    loss, right = reader.losses(ops, batch)
    assert right.tolist() == [1, 0, 1, 0, 1]
    assert float(loss) == pytest.approx(2 / 5 * -np.log(1e-9), rel=1e-3)
