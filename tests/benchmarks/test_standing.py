"""Standing measurements time the same work on both sides and say what they found."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from opensora_benchmarks import abstraction, dispatch, long_attention, plain_block, profile_generation, standing
from opensora_benchmarks.training_variants import Size


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(standing, "ran_again", lambda *_: False)


def test_the_costs_of_calls_are_differences_to_the_same_computation(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "CALLS", 2)
    dispatch.main(["--repeat", "3", "--json", str(tmp_path / "d.json")])
    document = json.loads((tmp_path / "d.json").read_text())
    assert document["clock"] == "processor time"
    for name, pairs in (("numpy", dispatch.numpy_pairs()), ("torch", dispatch.torch_pairs())):
        found = document["backends"][name]
        assert set(found["microseconds"]) == set(pairs)
        assert found["above"] == [op for op, row in found["microseconds"].items() if row["overhead"] > found["limit"]]
        for op, (ours, plain) in pairs.items():
            got, expected = (np.asarray(a.numpy() if torch.is_tensor(a) else a) for a in (ours(), plain()))
            np.testing.assert_allclose(got, expected, rtol=3e-5, atol=1e-6, err_msg=op)


def test_a_profile_of_generation_accounts_for_its_time_and_repeats_all_its_products():
    found = profile_generation.measure(2, 1, ["numpy"], steps=1)
    groups = found["groups_milliseconds"]["numpy"]
    assert {"matmul", "attention", "norms", "activations", "other ops", "python"} == set(groups)
    assert 0.2 < sum(groups.values()) / found["milliseconds"]["numpy"] < 5  # both are medians, on a busy machine too
    low, high = found["times_the_floor"]["numpy"]["quartiles"]
    assert low <= found["times_the_floor"]["numpy"]["median"] <= high
    assert found["times_the_products_in_order"]["numpy"]["median"] > 1
    assert found["products"] > 8 * 8  # 8 blocks, each of 7 linear maps and the products of attention


def test_turns_go_forth_and_back_and_ratios_are_those_of_neighbours():
    order, clock = [], iter(range(100))
    seconds = standing.turns({n: lambda n=n: order.append(n) for n in "ab"}, 3, lambda: float(next(clock)))
    assert "".join(order) == "abbaab"
    assert seconds == {"a": [1.0] * 3, "b": [1.0] * 3}
    assert standing.ratio({"a": [2, 3, 9], "b": [1, 1, 1]}, "a", "b") == {"median": 3.0, "quartiles": [2.5, 6.0]}


def test_the_model_is_timed_beside_one_by_hand_that_gives_the_same(monkeypatch):
    tiny = Size(hidden_size=16, num_heads=2, depth=1, batch_size=1)
    rows = abstraction.measure("tiny", tiny, 7, 1, 1)
    assert len(rows) == 4
    assert all(row["apart"] < 1e-3 and row["faster"]["median"] > 0 for row in rows.values())
    assert 0.05 < rows["torch guided, tiny"]["share_of_products"] < 0.95
    monkeypatch.setattr(plain_block, "gelu", lambda x: x)
    with pytest.raises(SystemExit, match=r"the results are \d.* apart, nothing to time"):
        abstraction.measure("tiny", tiny, 7, 1, 1)


def test_attention_by_blocks_holds_no_matrix_of_logits():
    row = long_attention.measure(1024, 1, 1)
    logits = 4 * 2 * 1024**2 / 1e6
    assert row["peak_megabytes"]["numpy"] < 0.5 * logits < logits < row["peak_megabytes"]["all at once"]
