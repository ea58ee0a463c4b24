"""Step caching is measured against all steps, beside a sampler with as many steps as it computes."""

from __future__ import annotations

import json

from opensora_benchmarks import standing, step_caching, step_caching_plot


def test_settings_compute_as_many_steps_and_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(standing, "ran_again", lambda *_: False)
    measure = step_caching.measure
    small = {"prompts": 1, "every": (2,), "num_frames": 1, "num_inference_steps": 5}
    monkeypatch.setattr(step_caching, "measure", lambda *args: measure(*args, ("numpy",), **small))
    step_caching.main(["--repeat", "1", "--json", str(tmp_path / "s.json")])
    found = json.loads((tmp_path / "s.json").read_text())
    assert {name: row["computed_steps"] for name, row in found["errors"].items()} == {
        "all steps": 5, "step_cache=2": 3, "3 steps": 3
    }  # fmt: skip
    cached = found["errors"]["step_cache=2"]
    assert 0 < cached["latents_rel_l2"]["median"] == cached["latents_rel_l2"]["worst"] < 1
    assert 10 < cached["psnr"]["worst"] < 90
    assert set(found["speed"]["numpy"]["faster"]) == {"step_cache=2", "3 steps"}
    step_caching_plot.main([str(tmp_path / "s.json"), str(tmp_path / "s.svg")])
    assert "step caching" in (tmp_path / "s.svg").read_text()
