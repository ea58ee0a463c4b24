"""Epochs of batches: every file once, in an order that depends on the seed and the step alone."""

from __future__ import annotations

from collections import Counter

import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.training.datasets.sampler import BucketSampler
from opensora_core.training.stages import Bucket

SMALL, LARGE = Bucket(5, 16, 16, 2), Bucket(9, 32, 32, 3)


def halves(epoch: int) -> list[Bucket | None]:
    """14 files of which 8 and 6 go to each bucket, others every epoch; the last one to none."""
    return [SMALL if (i + epoch) % 7 < 4 else LARGE for i in range(14)] + [None]


def batch(sampler: BucketSampler, step: int) -> tuple[Bucket, int, tuple[int, ...]]:
    draw = sampler.draw(step)
    return draw.bucket, draw.epoch, tuple(draw.file(i) for i in range(draw.bucket.batch_size))


def test_an_epoch_holds_every_file_once_in_batches_of_its_bucket():
    sampler = BucketSampler(halves, seed=3)
    orders = set()
    for epoch in range(3):
        drawn = [batch(sampler, 6 * epoch + i) for i in range(6)]
        assert {number for _, number, _ in drawn} == {epoch}
        assert sorted(i for _, _, files in drawn for i in files) == list(range(14))
        assert Counter(bucket for bucket, _, _ in drawn) == {SMALL: 4, LARGE: 2}
        assert all(halves(epoch)[i] == bucket for bucket, _, files in drawn for i in files)
        orders.add(tuple(drawn))
    assert len(orders) == 3


def test_a_batch_is_the_same_in_whatever_order_they_are_asked_for():
    one, other = BucketSampler(halves, seed=3), BucketSampler(halves, seed=3)
    backwards = {step: batch(one, step) for step in reversed(range(40))}
    assert backwards == {step: batch(other, step) for step in range(40)}
    assert backwards != {step: batch(BucketSampler(halves, seed=4), step) for step in range(40)}


def test_what_does_not_fill_a_batch_is_filled_up_or_left_out():
    few = BucketSampler(lambda epoch: [LARGE] * 4, seed=0)
    files = [batch(few, step)[2] for step in range(2)]
    assert set(Counter(i for files in files for i in files).values()) == {1, 2}
    alone = BucketSampler(lambda epoch: [LARGE], seed=0)
    assert batch(alone, 5) == (LARGE, 5, (0, 0, 0))
    left_out = BucketSampler(lambda epoch: [LARGE] * 4, seed=0, drop_last=True)
    assert [batch(left_out, step)[1] for step in range(3)] == [0, 1, 2]
    assert len(set(batch(left_out, 0)[2])) == 3


def test_the_file_after_the_batch_stands_in_first():
    draw = BucketSampler(lambda epoch: [LARGE] * 7, seed=0).draw(0)
    assert [draw.file(i) for i in range(7)] == [*draw.order[draw.start :], *draw.order[: draw.start]]


def test_files_that_come_to_no_batch_are_an_error_and_unlucky_epochs_are_not():
    rare = BucketSampler(lambda epoch: [SMALL if epoch % 60 == 59 else None] * 2, seed=0)
    assert [batch(rare, step)[1] for step in range(3)] == [59, 119, 179]
    with pytest.raises(InvalidInputError, match="no bucket takes these files, or none has as many as its batch_size"):
        BucketSampler(lambda epoch: [LARGE] * 2, seed=0, drop_last=True).draw(0)
