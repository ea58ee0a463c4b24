"""The benchmark of a training step times what computes the same, and counts the memory of tensors."""

import json

import pytest
import torch

from opensora_benchmarks import plain_stdit3, standing, training_step
from opensora_benchmarks.training_variants import Size

TINY = Size(hidden_size=16, num_heads=2, depth=2, batch_size=2)


@pytest.fixture
def document(tmp_path, monkeypatch):
    monkeypatch.setattr(training_step, "SIZES", {"tiny": TINY})
    monkeypatch.setattr(standing, "ran_again", lambda *_: False)
    file = tmp_path / "step.json"
    training_step.main(["--repeat", "2", "--json", str(file)])
    return json.loads(file.read_text())


def test_our_step_and_that_of_plain_pytorch_are_timed_with_and_without_checkpointing(document):
    assert {"date", "processor", "load", "python", "torch"} <= set(document["machine"])
    row = document["sizes"]["tiny"]
    assert row["losses_apart"] < 1e-5
    assert set(row["samples_per_second"]) == {"ours", "plain", "ours checkpointed", "plain checkpointed"}
    assert min(row["samples_per_second"].values()) > 0
    assert all(low <= row["throughput_of_plain"][name] <= high for name, (low, high) in row["quartiles"].items())


def test_peak_memory_is_that_of_the_tensors_of_a_step():
    class Known:
        weights = torch.zeros(1_000_000)  # 4 MB

        def held(self):
            return [self.weights]

        def step(self):
            for _ in range(3):
                square = self.weights * self.weights
                cube = square * self.weights
                del square, cube
            return 0.0

    assert training_step.peak_bytes(Known()) == 12_000_000
    plain, ours = (training_step.Plain(TINY, False), training_step.Ours(TINY, False))
    few, many = (training_step.Ours(TINY._replace(depth=depth), True) for depth in (1, 6))
    whole = training_step.Ours(TINY._replace(depth=6), False)
    assert 0.5 < training_step.peak_bytes(ours) / training_step.peak_bytes(plain) < 2
    assert training_step.peak_bytes(few) < training_step.peak_bytes(many) < 0.7 * training_step.peak_bytes(whole)


def test_another_computation_is_not_timed(monkeypatch):
    monkeypatch.setattr(plain_stdit3, "rotate", lambda x, cos, sin: x)
    with pytest.raises(SystemExit, match=r"the losses are \d.* apart, nothing to time"):
        training_step.measure(TINY, 1)
