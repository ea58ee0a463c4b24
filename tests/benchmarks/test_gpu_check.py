"""The check that wants a GPU runs to its end without one, on the same code, and finds what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / "gpu_check"
STEPS = ("environment", "golden", "primitives", "kernels", "python_kernels")
STEPS += ("tier1", "suite", "timings", "stdit3", "sanitizer")


def gpu_check(out, *arguments, **environment):
    command = [sys.executable, str(FOLDER), str(out), *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, env=env)


@pytest.fixture
def modules(monkeypatch):
    """Modules of the check, which lie in no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield __import__
    for name in [n for n, m in sys.modules.items() if str(FOLDER) in str(getattr(m, "__file__", ""))]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_dry_run_goes_through_every_step(tmp_path):
    done = gpu_check(tmp_path, "--dry")
    logs = {path.name: path.read_text()[-2000:] for path in tmp_path.glob("*.log")}
    assert done.returncode == 0, (done.stdout, done.stderr, logs)
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in STEPS}
    summary = json.loads((tmp_path / "summary.json").read_text())
    statuses = {name: step["status"] for name, step in summary["steps"].items()}
    assert statuses == {**dict.fromkeys(STEPS, "ok"), "sanitizer": "not run"}
    assert found["kernels"]["cases"] >= 20
    assert found["python_kernels"]["cases"] >= 16
    assert len(found["python_kernels"]["launched"]) == 8
    assert found["primitives"]["compared"] > 100
    assert "passed" in found["tier1"]["summary"]
    assert found["suite"]["levels"]["ops"].startswith("PASS")
    assert {row["provider"] for row in found["timings"]["rows"]} == {"opensora", "torch eager"}
    assert all(row["us"] > 0 for row in found["timings"]["rows"])
    assert set(found["stdit3"]["relative_l2"]) == {"cuda bfloat16", "torch bfloat16", "torch float32"}
    assert found["sanitizer"]["not_run"]
    golden = np.load(tmp_path / "golden_ptx.npz")
    assert {"ldmatrix", "cp_async", "ex2", "mma___half", "mma___nv_bfloat16"} == set(golden)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 500_000


def test_a_step_that_dies_leaves_the_others_alone(tmp_path):
    sabotage = tmp_path / "site"
    sabotage.mkdir()
    (sabotage / "sitecustomize.py").write_text(
        "import os, sys\nif 'golden' in sys.argv: os.kill(os.getpid(), 11)\n"  # as a fault of the GPU would end it
    )
    done = gpu_check(tmp_path / "out", "--dry", "--steps", "environment,golden", PYTHONPATH=str(sabotage))
    summary = json.loads((tmp_path / "out/summary.json").read_text())["steps"]
    assert (done.returncode, summary["environment"]["status"], summary["golden"]["status"]) == (1, "ok", "died -11")


def test_what_was_not_run_is_told_and_fine_in_a_dry_run_only(tmp_path):
    done = gpu_check(tmp_path, "--dry", "--steps", "sanitizer")
    assert (done.returncode, done.stdout.split()[:3]) == (0, ["sanitizer", "not", "run"])


def test_targets_are_judged_by_the_timings(modules):
    verdicts = modules("targets").verdicts
    rows = [
        {"op": "attention_3d temporal", "provider": "opensora", "us": 10.0, "of_copy_speed": 0.9},
        {"op": "attention_3d temporal", "provider": "torch eager", "us": 39.0, "of_copy_speed": 0.2},
        {"op": "attention full D=128", "provider": "opensora", "us": 14.0},
        {"op": "attention full D=128", "provider": "torch cudnn_attention", "us": 10.0},
        {"op": "attention full D=128", "provider": "torch flash_attention", "error": "not here"},
    ]
    found = {row["target"]: (row["found"], row["met"]) for row in verdicts(rows)}
    assert found["temporal attention: share of copy speed"] == (0.9, True)
    assert found["temporal attention: times Torch eager"] == (3.9, False)
    assert found["full attention D=128: times the best of SDPA"] == (0.71, True)
    assert found["modulate: share of copy speed"] == (None, False)


def test_an_unknown_step_is_refused(tmp_path):
    done = gpu_check(tmp_path, "--steps", "golden,silver")
    assert done.returncode == 2
    assert "unknown steps silver; known: environment, golden" in done.stderr


def test_golden_outputs_that_differ_are_named(modules):
    golden = modules("golden")
    want = {"ldmatrix": np.arange(6, dtype=np.uint32), "ex2": np.ones(3, np.float32), "mma_x": np.ones(2, np.float32)}
    assert golden.differences(want, want) == []
    got = {name: x.copy() for name, x in want.items()}
    got["ldmatrix"][[2, 4]] = 9
    got["ex2"][1] += 1e-5
    assert golden.differences(got, want) == [
        "ldmatrix: 2 of 6 registers differ, first at 2",
        "ex2: relative error 1e-05, allowed 3e-07",
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "bool"])
@pytest.mark.parametrize(
    "cut",
    [
        lambda x: x,
        lambda x: x[1:, ::2],
        lambda x: x[::-1, ::-2],
        lambda x: x.T,
        lambda x: x[:0],
        lambda x: np.broadcast_to(x[0, 0], (3, 2)),
    ],
)
def test_memory_goes_to_the_device_and_back_as_it_lies(modules, dtype, cut):
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    array = cut((np.arange(24).reshape(4, 6) % 7).astype(kind))
    memory, offset = modules("on_device")._memory(array)
    if not array.size:
        assert memory.size == 0
        return
    strides = [s // kind.itemsize for s in array.strides]
    index = offset + np.tensordot(np.indices(array.shape), strides, axes=(0, 0))
    np.testing.assert_array_equal(memory[index].view(kind), array)
    assert np.shares_memory(memory, array)
