"""Frame masks: what each strategy gives, how often, and that something is always left to make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.errors import InvalidInputError
from opensora_core.training.masks import STRATEGIES, check_ratios, draw_mask


def draws(name, T, n=200):
    rng = np.random.default_rng(0)
    return [draw_mask(rng, T, {name: 1.0}) for _ in range(n)]


def runs(mask):
    """(start, stop) of every run of given frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], mask, [True]]).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


@given(name=st.sampled_from(STRATEGIES), T=st.integers(1, 33), seed=st.integers(0, 99))
def test_something_is_given_and_something_is_left_to_make(name, T, seed):
    mask = draw_mask(np.random.default_rng(seed), T, {name: 1.0})
    assert (mask.shape, mask.dtype) == ((T,), bool)
    assert mask.any()
    assert T == 1 or name == "random" or not mask.all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_single_frame_is_never_given(name):
    assert all(mask.tolist() == [True] for mask in draws(name, 1, n=20))
    assert draws(name, 0, n=1)[0].shape == (0,)


def test_where_everything_would_be_given_the_last_frame_is_made():
    assert {tuple(mask) for mask in draws("image_head_tail", 2)} == {(False, True)}

    class AllGiven:
        """Draws what gives every frame."""

        def random(self, size=None):
            return 0.0 if size is None else np.ones(size)

        def uniform(self, low, high):
            return high

    assert draw_mask(AllGiven(), 4, {"random": 1.0}).tolist() == [False, False, False, True]
    assert draw_mask(AllGiven(), 4, {"random": 0.0}).all()  # a ratio of zero is never, whatever is drawn


def test_a_seed_keeps_its_masks():
    rng, ratios = np.random.default_rng(0), {"random": 0.5, "quarter_random": 0.5}
    drawn = [draw_mask(rng, 8, ratios).astype(int).tolist() for _ in range(3)]
    assert drawn == [[1, 0, 0, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1, 0, 1], [0, 0, 1, 1, 1, 1, 1, 1]]


@pytest.mark.parametrize(("extent", "most"), [("image", 1), ("quarter", 4)])
def test_heads_tails_and_places_are_where_their_names_say(extent, most):
    T = 17
    lengths = set(range(1, most + 1))
    head, tail = ({runs(m)[0] for m in draws(f"{extent}_{place}", T)} for place in ("head", "tail"))
    assert head == {(0, n) for n in lengths}
    assert tail == {(T - n, T) for n in lengths}
    both = {tuple(runs(m)) for m in draws(f"{extent}_head_tail", T)}
    assert both == {((0, n), (T - n, T)) for n in lengths}
    anywhere = draws(f"{extent}_random", T, n=600)
    assert all(len(runs(m)) == 1 for m in anywhere)
    assert {b - a for m in anywhere for a, b in runs(m)} == lengths
    assert {a for m in anywhere for a, _ in runs(m)} == set(range(T))


@pytest.mark.parametrize(("T", "most"), [(2, 1), (4, 1), (7, 1), (8, 2), (11, 2), (12, 3)])
def test_a_quarter_is_rounded_down_but_never_to_nothing(T, most):
    assert {T - int(m.sum()) for m in draws("quarter_head", T)} == set(range(1, most + 1))


@pytest.mark.parametrize("T", [2, 5, 9])
def test_any_head_gives_every_beginning_but_the_whole(T):
    masks = draws("any_head", T)
    assert {T - int(m.sum()) for m in masks} == set(range(1, T))
    assert all(runs(m) == [(0, T - int(m.sum()))] for m in masks)


def test_interpolation_gives_every_second_frame_from_the_first_or_the_second():
    T, seen = 7, {tuple(m) for m in draws("interpolate", 7)}
    assert seen == {tuple(i % 2 == 1 for i in range(T)), tuple(i % 2 == 0 for i in range(T))}


def test_random_masks_give_from_a_tenth_to_nine_tenths():
    shares = np.array([1 - m.mean() for m in draws("random", 1000, n=400)])
    assert 0.05 < shares.min() < 0.2
    assert 0.8 < shares.max() < 0.95
    assert abs(shares.mean() - 0.5) < 0.05


def test_ratios_are_probabilities_and_the_rest_is_no_mask():
    ratios = {"image_head": 0.2, "image_tail": 0.1, "interpolate": 0.3}
    rng = np.random.default_rng(1)
    n, T, counts = 4000, 8, {"image_head": 0, "image_tail": 0, "interpolate": 0, "none": 0}
    for _ in range(n):
        mask = draw_mask(rng, T, ratios)
        kind = {T: "none", T // 2: "interpolate", T - 1: "image_tail" if mask[0] else "image_head"}[int(mask.sum())]
        counts[kind] += 1
    expected = {**ratios, "none": 0.4}
    for kind, count in counts.items():
        spread = (n * expected[kind] * (1 - expected[kind])) ** 0.5
        assert abs(count - n * expected[kind]) < 4 * spread


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ({"image_hed": 0.1}, r"unknown mask_ratios fields \['image_hed'\]; known: .*'image_head'"),
        ({"random": -0.1}, "mask ratio random=-0.1 must be a number from 0 to 1"),
        ({"random": float("nan")}, "mask ratio random=nan"),
        ({"random": "much"}, "mask ratio random='much'"),
        ({"random": 0.6, "interpolate": 0.6}, "must sum to at most 1"),
        ([0.5], "mask_ratios is a list; expected a table"),
    ],
)
def test_ratios_that_are_none_are_refused(ratios, words):
    with pytest.raises(InvalidInputError, match=words):
        check_ratios(ratios)
    check_ratios({"random": 0.1, "interpolate": 0.2, "image_head": 0.7})  # 1.0000000000000002 or so
