"""The measurement of whole processes beside what is foretold of them, on its smallest case."""

from __future__ import annotations

import pytest

from opensora_benchmarks import plan, plan_cases


def test_the_process_of_a_tiny_model_is_foretold_and_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CASES", plan_cases.CASES[:1])
    [row] = plan.rows()
    assert row["planned_bytes"] == row["weights"] + row["activations"] + row["process"]
    if row["process_bytes"] is None:
        pytest.skip("only Linux tells the memory of a process")
    assert row["process_bytes"] > row["weights"] + row["activations"]
    assert row["planned_share"] == pytest.approx(1, abs=0.25)  # 0.1 where the figures were recorded
    assert f"{row['planned_share']}" in plan.describe(row)


def test_every_stage_of_a_generation_is_among_the_cases() -> None:
    assert {case.stage for case in plan_cases.CASES} == {"text encoder", "given frames", "denoiser", "autoencoder"}
    assert {case.backend for case in plan_cases.CASES} == {"numpy", "torch"}
