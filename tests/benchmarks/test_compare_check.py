"""Runs that differ by noise alone are the SAME, also when a machine drifts; and the check of that counts right."""

import json

import numpy as np
import pytest

from opensora_benchmarks import compare as comparison
from opensora_benchmarks import compare_check
from opensora_benchmarks.compare import Comparison, block_length, interval
from opensora_benchmarks.sampling import Rule, take_turns


def run(seed: int, rho: float, spread: float = 0.05, n: int = 120) -> list[float]:
    """Samples by a fake clock whose noise remembers the last call."""
    rng, noise = np.random.default_rng(seed), 0.0

    def sample() -> float:
        nonlocal noise
        noise = rho * noise + (1 - rho**2) ** 0.5 * rng.standard_normal()
        return float(np.exp(spread * noise))

    taken = take_turns({"x": sample}, Rule(error=0.0, most=n, budget=1e9), clock=lambda: 0.0)["x"]
    return taken.samples


def coverage(rho: float, runs: int = 40) -> float:
    found = [interval(run(i, rho), run(10_000 + i, rho)) for i in range(runs)]
    return sum(low <= 1 <= high for _, low, high in found) / runs


def test_blocks_are_as_long_as_neighbours_are_alike():
    white, drifting = (block_length(np.array(run(0, rho, n=400))) for rho in (0.0, 0.9))
    assert white <= 3 < 10 < drifting
    assert block_length(np.ones(9)) == block_length(np.array([1.0])) == 1


def test_intervals_hold_the_truth_with_noise_that_drifts(monkeypatch):
    with_blocks = {rho: coverage(rho) for rho in (0.0, 0.7)}
    assert min(with_blocks.values()) >= 0.82, with_blocks
    monkeypatch.setattr(comparison, "block_length", lambda samples: 1)
    assert coverage(0.7) < with_blocks[0.7] - 0.1


def document(seed: int, factor: float = 1.0) -> dict:
    row = {"status": "ok", "provider": "numpy", "dtype": "float32", "cache": "cold", "device": "cpu", "shape": {}}
    rows = [
        {**row, "case": f"op/{i}", "samples_s": [factor * s for s in run(100 * seed + i, 0.3, 0.02)]} for i in range(10)
    ]
    return {"environment": {}, "results": rows}


def test_the_check_runs_pairs_until_there_are_enough_rows(monkeypatch, tmp_path, capsys):
    seeds = iter(range(100))
    monkeypatch.setattr(compare_check, "run_pair", lambda asked: (document(next(seeds)), document(next(seeds))))
    assert compare_check.main(["--rows", "25", "--json", str(tmp_path / "c.json")]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["rows"], found["passed"]) == (30, True)
    assert found["same"] + found["unsure"] + found["faster"] + found["slower"] == 30
    monkeypatch.setattr(compare_check, "run_pair", lambda asked: (document(next(seeds)), document(next(seeds), 1.2)))
    assert compare_check.main(["--rows", "10"]) == 1
    assert "SLOWER op/0 numpy" in capsys.readouterr().out


def test_the_tally_counts():
    rows = [Comparison("c", "p", 1.0, low, high, word) for low, high, word in 19 * [(0.99, 1.01, "SAME")]]
    rows.append(Comparison("d", "p", 1.2, 1.1, 1.3, "SLOWER"))
    found = compare_check.tally(rows)
    assert (found["same"], found["slower"], found["share_same"], found["passed"]) == (19, 1, 0.95, True)
    assert found["share_holding_1"] == pytest.approx(0.95)
    assert [c["case"] for c in found["others"]] == ["d"]
