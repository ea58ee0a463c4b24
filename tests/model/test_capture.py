"""Any named part of a model can be watched without changing what the model computes."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from opensora_core import get_backend
from opensora_core.capture import capture
from opensora_core.errors import InvalidInputError
from opensora_core.module import replace_part, state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.nn.layers import Linear, Mlp, Silu, sequential

OPS = get_backend("numpy", device="cpu", dtype="float32")
X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def test_captured_parts_note_every_call_in_order() -> None:
    mlp = Mlp.create(RandomInit(0), 3, 5, 4)
    watched, calls = capture(mlp, ["fc1", "fc2"])
    out = watched(OPS, X)
    watched(OPS, 2 * X)
    np.testing.assert_array_equal(out, mlp(OPS, X))
    assert [len(c) for c in calls.values()] == [2, 2]
    np.testing.assert_array_equal(calls["fc1"][1].args[0], 2 * X)
    np.testing.assert_array_equal(calls["fc1"][0].output, mlp.fc1(OPS, X))
    np.testing.assert_array_equal(calls["fc2"][0].output, out)


def test_a_part_and_a_part_of_it_can_be_watched_together_and_still_lend_their_attributes() -> None:
    steps = (Linear.create(RandomInit(0), 3, 3), Silu(), Mlp.create(RandomInit(1), 3, 5, 4))
    watched, calls = capture(steps, ["2", "2.fc1", "0"])
    out = sequential(OPS, watched, X)
    assert watched[0].weight is steps[0].weight
    np.testing.assert_array_equal(calls["2"][0].output, out)
    np.testing.assert_array_equal(calls["2.fc1"][0].args[0], calls["2"][0].args[0])
    assert copy.copy(watched[2]).fc2.weight is steps[2].fc2.weight


def test_replacing_a_part_leaves_the_rest_and_the_original() -> None:
    mlp = Mlp.create(RandomInit(0), 3, 5, 4)
    other = replace_part(mlp, "fc2.weight", lambda w: 2 * w)
    changed = [k for k, v in state_dict(other).items() if v is not state_dict(mlp)[k]]
    assert changed == ["fc2.weight"]
    np.testing.assert_array_equal(other.fc2.weight, 2 * mlp.fc2.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fc3", "Mlp has no part 'fc3'; it has fc1, fc2"),
        ("fc1.weight.x", "ndarray has no part 'x'"),
        ("fc1.weight", "'fc1.weight' is a ndarray"),
        ("", "no part ''"),
    ],
)
def test_names_that_cannot_be_watched_are_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        capture(Mlp.create(RandomInit(0), 3, 5, 4), [name])
