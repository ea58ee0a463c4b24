"""A verification notices planted faults."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.ops import Array, Ops
from opensora_core.releases.sampler import Sampler
from opensora_core.releases.sampling_diffusion import STDiT2Sampler, STDiTSampler
from opensora_core.releases.sampling_flow import STDiT3Sampler, WindowedSTDiT3Sampler
from opensora_core.releases.sampling_v2 import MMDiTSampler
from opensora_core.releases.task import Task
from opensora_core.serialization.writer import write_safetensors
from opensora_core.verify import KINDS, GoldenSet, check_set, find_golden_sets, verify
from opensora_core.verify.produced import Produced
from tests.verify.sets import GOLDEN, STDIT3, copy_set


class SwappedRotary(NumpyOps):
    """Sine where the cosine belongs."""

    def rotary(self, x: Array, cos: Array, sin: Array) -> Array:
        return super().rotary(x, sin, cos)


class Unscaled(NumpyOps):
    """Attention without 1/sqrt(D)."""

    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        return super().attention(q, k, v, mask, 1.0)


class Unmasked(NumpyOps):
    """Attention that sees padding."""

    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        return super().attention(q, k, v, None, scale)


class ExactGelu(NumpyOps):
    """The erf form of GELU instead of Open-Sora's tanh form: an error of 1e-4."""

    def gelu(self, x: Array, approximate: str = "tanh") -> Array:
        return super().gelu(x, "none")


class WrongEps(NumpyOps):
    """A layer norm with eps 1e-5 instead of 1e-6: an error that float32 only just shows."""

    def layer_norm(self, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6) -> Array:
        return super().layer_norm(x, weight, bias, 1e-5)


class Overflowing(NumpyOps):
    """Attention that divides nothing by nothing."""

    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        return super().attention(q, k, v, mask, scale) * np.float32(np.nan)


class Widened(NumpyOps):
    """Multiplies in another dtype than asked for, and keeps it."""

    def linear(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        return super().linear(x, weight, bias).astype("float32" if self.dtype == "float64" else "float64")


class Leaving(NumpyOps):
    """Ends the program."""

    def silu(self, x: Array) -> Array:
        raise SystemExit(0)


class Broken(NumpyOps):
    """A backend that lacks an op."""

    def silu(self, x: Array) -> Array:
        raise NotImplementedError("silu is not written yet")


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("fault", [SwappedRotary, Unscaled, Unmasked])
def test_a_faulty_backend_fails_in_every_dtype(fault: type[NumpyOps], dtype: str) -> None:
    checks = check_set(GOLDEN / "stdit3_b.json", fault("cpu", dtype))
    assert {c.verdict for c in checks if c.tensor == "out/y"} == {"fail"}
    untouched = [c for c in checks if c.tensor in ("mid/x_embedder", "mid/t_emb", "mid/y_packed")]
    assert len(untouched) == 6
    assert all(c.ok for c in untouched)  # so the table tells where it went wrong


@pytest.mark.parametrize(("fault", "dtype"), [(ExactGelu, "float32"), (WrongEps, "float64")])
def test_small_faults_are_found(fault: type[NumpyOps], dtype: str) -> None:
    checks = check_set(STDIT3, fault("cpu", dtype))
    assert [c.verdict for c in checks if c.tensor == "out/y"] == ["fail"]


@pytest.mark.parametrize(("dtype", "other"), [("float32", "float64"), ("float64", "float32"), ("bfloat16", "float64")])
def test_another_dtype_is_found(dtype: str, other: str) -> None:
    checks = {c.tensor: c for c in check_set(STDIT3, Widened("cpu", dtype))}
    assert checks["out/y"].verdict == "fail"
    wanted = "float64" if dtype == "float64" else "float32"  # the model gives its result in float32 at least
    assert checks["out/y"].note == f"dtype {other}, expected {wanted}"


@pytest.mark.parametrize(
    ("golden", "sampler"),
    [
        ("iddpm_sample_v1.0", STDiTSampler),
        ("iddpm_sample_v1.1", STDiT2Sampler),
        ("rflow_sample", STDiT3Sampler),
        ("rflow_sample_v13", WindowedSTDiT3Sampler),
        ("v2_sample", MMDiTSampler),
    ],
)
def test_a_fault_in_the_sampler_of_generations_is_found(
    golden: str, sampler: type[Sampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    right: Any = sampler.__call__

    def guides_too_much(self: Sampler, ops: Ops, denoiser: Any, task: Task, text: Any, given: Any) -> Any:
        return right(self, ops, denoiser, replace(task, guidance_scale=task.guidance_scale * 1.01), text, given)

    monkeypatch.setattr(sampler, "__call__", guides_too_much)
    checks = check_set(GOLDEN / f"{golden}.json", NumpyOps("cpu", "float32"))
    ends = [c.verdict for c in checks if c.tensor in ("out/z", "out/x")]
    assert ends.count("fail") >= len(ends) - 3  # all that are guided


def test_a_primitive_that_is_not_there_is_named() -> None:
    class NoReshape(NumpyOps):
        reshape = Ops.reshape

    [row] = check_set(STDIT3, NoReshape())
    assert row.note.startswith("NotImplementedError: the primitive reshape is not implemented")


def test_an_op_that_ends_the_program_is_an_error() -> None:
    [row] = check_set(STDIT3, Leaving())
    assert row.note.startswith("SystemExit: 0 (in test_verify.py:")


def test_a_changed_weight_is_found(tmp_path: Path) -> None:
    tensors = copy_set(tmp_path)
    changed = tensors["w/final_layer.linear.bias"].copy()
    changed[0] += 1e-3
    write_safetensors(tmp_path / "stdit3_skipy.safetensors", {**tensors, "w/final_layer.linear.bias": changed})
    failures = verify(tmp_path).failures
    assert {c.tensor for c in failures} == {"out/y", "mid/final_layer"}
    assert all(c.max_abs == pytest.approx(1e-3, rel=0.01) for c in failures)


def test_numbers_that_are_not_finite_fail_and_are_counted() -> None:
    checks = {c.tensor: c for c in check_set(STDIT3, Overflowing())}
    assert checks["out/y"].verdict == "fail"
    assert checks["out/y"].note == "512 of 512 numbers are not finite"
    assert checks["out/y"].max_abs is None
    assert checks["mid/x_pos"].ok


def test_a_backend_that_breaks_fails_with_the_place_and_the_other_sets_still_count(tmp_path: Path) -> None:
    for path in GOLDEN.glob("stdit3_skipy.*"):
        shutil.copy(path, tmp_path)
    for path in GOLDEN.glob("rflow_timesteps.*"):
        shutil.copy(path, tmp_path)
    rows = [row for path in find_golden_sets(tmp_path) for row in check_set(path, Broken())]
    errors = [row for row in rows if row.verdict == "error"]
    assert [(row.set, row.kind) for row in errors] == [("stdit3_skipy", "stdit3")]
    assert errors[0].note.startswith("NotImplementedError: silu is not written yet (in test_verify.py:")
    assert sum(row.verdict == "pass" for row in rows) == len(rows) - 1 == 30


def test_outputs_of_another_shape_or_never_computed_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(golden: GoldenSet, ops: Any) -> Any:
        yield Produced("skipy", "mid/t_emb", np.zeros((1, 2)))
        yield Produced("skipy", "mid/more", np.zeros(1))

    monkeypatch.setitem(KINDS, "stdit3", run)
    checks = {c.tensor: c for c in check_set(STDIT3, NumpyOps())}
    assert checks["mid/t_emb"].note == "shape (1, 2), expected (2, 32)"
    assert (checks["out/y"].verdict, checks["out/y"].note) == ("fail", "not computed")
    assert checks["mid/spatial0"].verdict == "not compared"
    assert "mid/more" not in checks
