"""Stages of a generation, training steps and files are checked before they are timed, rivals as well."""

import dataclasses

import numpy as np
import pytest

from opensora_benchmarks.gate import RefusedError
from opensora_benchmarks.providers import open_backend, open_provider
from opensora_benchmarks.roofline import Roofline
from opensora_benchmarks.rows import Plan
from opensora_benchmarks.sampling import Rule
from opensora_benchmarks.suite_io import TensorsJob
from opensora_benchmarks.suite_training import TrainingJob
from opensora_benchmarks.suites import all_workloads
from opensora_benchmarks.training_variants import Plain, Size
from opensora_benchmarks.workload import run_workload, within

WORK = {work.id: work for work in all_workloads()}
PLAN = Plan(rule=Rule(least=2, most=2, warmup=0, budget=60.0), cold=False)
LINE = Roofline("float32", 1e11, 1e10, ("numpy", "numpy"))


def rows(name, *providers):
    return {row["provider"]: row for row in run_workload(WORK[name], providers, PLAN, LINE)}


def backend(name):
    return open_backend(name, None, "float32")


@pytest.mark.parametrize("stage", ["text", "decode"])
def test_a_stage_is_timed_and_a_wrong_backend_is_refused(stage):
    wrong = "tests.benchmarks.cheats:Louder"
    found = rows(f"generation/embedded-{stage}", backend("numpy"), backend("torch"), backend(wrong))
    assert [found[name]["status"] for name in ("numpy", "torch", wrong)] == ["ok", "ok", "fail"]
    assert found["numpy"]["flops"] == found["torch"]["flops"] > 1e6
    assert found["torch"]["n"] == len(found["torch"]["samples_s"]) == 2
    assert "median_s" not in found[wrong]


def test_a_function_gets_no_time_for_the_work_of_the_library_of_its_arrays():
    function = open_provider("tests.benchmarks.cheats:honest", None, "float32", "numpy")
    version = open_provider("numpy:whole", None, "float32", "numpy")
    found = rows("generation/embedded-decode", function, version)
    assert [(row["status"], row["reason"]) for row in found.values()] == [
        ("skip", "it is a function, and this is a whole workload")
    ] * 2


def test_files_are_written_and_read_by_us_and_by_the_package():
    who = backend("numpy"), open_provider("plain-numpy", None, "float32", "numpy"), backend("torch")
    found = rows("io/safetensors-read-small", *who)
    assert [found[p.name]["status"] for p in who] == ["ok", "ok", "skip"]
    assert found["numpy"]["bytes"] == 4 * 8 * 256**2
    assert found["numpy"]["flops"] == 0
    assert rows("generation/embedded-mp4", backend("numpy"))["numpy"]["status"] == "ok"


def test_what_is_read_back_must_be_what_was_written():
    job = TensorsJob(2, 3, True, lambda path, tensors: path.touch(), lambda path: {})
    job.prepare(np.random.default_rng(0))
    with pytest.raises(RefusedError, match="not what was written"):
        job.check(job.call())


def test_a_training_step_must_have_the_right_loss_and_learn():
    size = Size(hidden_size=16, num_heads=2, depth=2, batch_size=2)
    job = TrainingJob(Plain(size, False), size, "float32")
    first = job.call()
    assert job.check(first) < 1
    assert job.flops > 0
    assert job.check(job.call()) == 0
    with pytest.raises(RefusedError, match="after steps on one batch the loss is"):
        job.check(first)
    with pytest.raises(RefusedError, match="its first loss is"):
        TrainingJob(Plain(size, False), size, "float32").check(first * 1.01)


def test_distances_are_relative_and_shapes_must_agree():
    assert within(np.array([3.0, 4.0]), np.array([3.0, 4.5]), 1.0) == pytest.approx(0.5 / np.hypot(3, 4.5))
    with pytest.raises(RefusedError, match="away from NumPy's"):
        within(np.array([np.nan]), np.array([1.0]), 1.0)
    with pytest.raises(RefusedError, match="the shape"):
        within(np.zeros(2), np.zeros(3), 1.0)


def test_a_job_that_raises_while_it_is_timed_gets_no_time():
    class Tired:
        flops, bytes = 1, 1
        calls = 0

        def prepare(self, rng): ...

        def call(self):
            self.calls += 1
            if self.calls > 2:
                raise ValueError("tired")

        def check(self, result):
            return 0.0

    work = dataclasses.replace(WORK["io/mp4-encode-small"], open=lambda provider, dtype: Tired())
    (row,) = run_workload(work, [backend("numpy")], PLAN, LINE)
    assert row["status"] == "error"
    assert row["reason"].startswith("ValueError: tired (in test_workloads.py")
