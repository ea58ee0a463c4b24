"""A verification notices planted faults, and says what it could not read, run or compare."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.errors import InvalidInputError
from opensora_core.ops import Array, Ops
from opensora_core.releases.sampler import Sampler
from opensora_core.releases.sampling_diffusion import STDiT2Sampler, STDiTSampler
from opensora_core.releases.sampling_flow import STDiT3Sampler, WindowedSTDiT3Sampler
from opensora_core.releases.sampling_v2 import MMDiTSampler
from opensora_core.releases.task import Task
from opensora_core.serialization.reader import read_safetensors
from opensora_core.serialization.writer import write_safetensors
from opensora_core.verify import KINDS, GoldenSet, Report, check_set, find_golden_sets, verify
from opensora_core.verify.produced import Produced

GOLDEN = Path(__file__).parent.parent / "golden"
STDIT3 = GOLDEN / "stdit3_skipy.json"


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


# ---------------------------------------------------------------------- planted faults


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


def test_the_backend_is_called_what_it_was_asked_for() -> None:
    target = "opensora_backends.numpy_ops:NumpyOps"
    sets = len(list((GOLDEN / "keys").iterdir()))
    assert verify(GOLDEN / "keys", backend=target).summary.startswith(
        f"PASS: {sets} golden sets, {sets} pass; {target}"
    )


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


def test_half_precision_is_refused_where_its_yardstick_is_off(tmp_path: Path) -> None:
    tensors = copy_set(tmp_path)
    write_safetensors(tmp_path / "stdit3_skipy.safetensors", {**tensors, "skipy/out64/y": tensors["skipy/out64/y"] + 1})
    report = verify(tmp_path, dtype="bfloat16")
    assert not report.ok
    assert [c.verdict for c in report.checks] == ["error"]
    assert "NumPy float64, the yardstick, is itself off in 1 tensors, first skipy/out/y" in report.checks[0].note


# ---------------------------------------------------------------------- sets that cannot be used


def test_an_unknown_kind_fails_by_name(tmp_path: Path) -> None:
    copy_set(tmp_path, kind="stdit9")
    (tmp_path / "spectrum_v1.2.json").write_text(json.dumps({"resolutions": {}}))
    (tmp_path / "rows.json").write_text(json.dumps([1, 2]))
    report = verify(tmp_path)
    assert not report.ok
    assert {c.set: c.kind for c in report.checks} == {
        "rows": "rows",
        "spectrum_v1.2": "spectrum",
        "stdit3_skipy": "stdit9",
    }
    assert {c.verdict for c in report.checks} == {"unknown kind"}
    assert "'stdit9'; known: stdit," in report.table()


def test_a_set_in_which_nothing_is_compared_fails_by_name(tmp_path: Path) -> None:
    for path in GOLDEN.glob("rflow_timesteps.*"):
        shutil.copy(path, tmp_path)
    for change, words in (
        ({"cases": {}}, "has no cases, so nothing was compared"),
        ({"cases": {"skipy": {"outputs": []}}}, "records no outputs of case 'skipy'"),
        ({"version": "v9"}, "version 'v9' of stdit3; known: v1.2"),
    ):
        copy_set(tmp_path, **change)
        report = verify(tmp_path)
        assert [(c.set, c.verdict) for c in report.failures] == [("stdit3_skipy", "error")]
        assert words in report.failures[0].note
        assert report.summary.startswith("FAIL: 2 golden sets")
    for rest in ({}, {"version": "v1.2"}):
        (tmp_path / "stdit3_skipy.json").write_text(json.dumps({"kind": "stdit3", **rest}))
        assert "has no cases" in verify(tmp_path).failures[0].note


def test_published_key_tables_are_checked_and_strange_ones_named(tmp_path: Path) -> None:
    table = json.loads((GOLDEN / "keys" / "stdit3-xl2-v1.2.json").read_text())
    (tmp_path / "right.json").write_text(json.dumps(table))
    (tmp_path / "more.json").write_text(json.dumps({**table, "extra.weight": [3, "float32"]}))
    (tmp_path / "other.json").write_text(json.dumps({"encoder.weight": [3, "float32"]}))
    rows = {c.set: c for c in verify(tmp_path).checks}
    assert {name: row.verdict for name, row in rows.items()} == {
        "right": "pass",
        "more": "fail",
        "other": "unknown kind",
    }
    assert "extra.weight" in rows["more"].note
    assert rows["other"].note.startswith("other holds no model that is known here")


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_half_a_pair_is_an_error_that_names_the_other_half(tmp_path: Path, suffix: str) -> None:
    copy_set(tmp_path)
    (tmp_path / f"stdit3_skipy{suffix}").unlink()
    report = verify(tmp_path)
    assert [c.verdict for c in report.checks] == ["error"]
    assert f"has no stdit3_skipy{suffix} beside it" in report.checks[0].note


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, suffix: str) -> None:
    copy_set(tmp_path)
    path = tmp_path / f"stdit3_skipy{suffix}"
    path.write_bytes(path.read_bytes()[:200])
    report = verify(tmp_path)
    assert [c.verdict for c in report.checks] == ["error"]
    assert str(path) in report.checks[0].note


def test_sets_that_do_not_fit_their_own_description_are_errors(tmp_path: Path) -> None:
    tensors = copy_set(tmp_path)
    path = tmp_path / "stdit3_skipy.safetensors"
    for name, words in (("skipy/out/y", "lacks the tensor 'skipy/out/y'"), ("w/x_embedder.proj.bias", "1 missing")):
        write_safetensors(path, {key: value for key, value in tensors.items() if key != name})
        assert words in verify(tmp_path).checks[0].note
    assert "1 missing: 'x_embedder.proj.bias' [32]" in verify(tmp_path).table()
    write_safetensors(path, tensors)
    for change, words in (
        ({"config": {"depht": 2}}, "unknown STDiT3 config fields"),
        ({"cases": {"a": 1}}, "malformed"),
    ):
        copy_set(tmp_path, **change)
        assert words in verify(tmp_path).checks[0].note
    table = json.loads(STDIT3.read_text())
    table["cases"]["skipy"]["tol"] = {}
    (tmp_path / "stdit3_skipy.json").write_text(json.dumps(table))
    assert "records no tolerance for skipy/out/y" in verify(tmp_path).checks[0].note


def test_weights_lent_by_a_set_that_is_absent_are_missed_by_name(tmp_path: Path) -> None:
    for path in GOLDEN.glob("rflow_train.*"):
        shutil.copy(path, tmp_path)
    assert "rflow_sample" in verify(tmp_path).checks[0].note


def test_folders_without_sets_and_unknown_backends_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no golden sets"):
        verify(tmp_path)
    with pytest.raises(InvalidInputError, match="is not a folder"):
        verify(tmp_path / "absent")
    with pytest.raises(InvalidInputError, match="no backend 'abacus'"):
        verify(GOLDEN, backend="abacus")
    with pytest.raises(InvalidInputError, match="dtype 'int8'"):
        verify(GOLDEN, dtype="int8")
    with pytest.raises(InvalidInputError, match="runs on device 'cpu', not 'cuda:0'"):
        verify(GOLDEN, device="cuda:0")


# ---------------------------------------------------------------------- the report


def test_a_report_is_a_table_and_json(tmp_path: Path) -> None:
    copy_set(tmp_path)
    report = verify(tmp_path)
    assert report.ok
    text = report.table()
    assert text.splitlines()[0].endswith("recorded  allowed   verdict")
    assert len(text.splitlines()) == 1 + 11 + 2
    assert report.summary.startswith("PASS: 1 golden sets, 11 pass; numpy float32 on cpu,")
    assert len(report.table(failures_only=True).splitlines()) == 2
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (data["ok"], data["backend"], data["dtype"], data["counts"]) == (True, "numpy", "float32", {"pass": 11})
    row = next(r for r in data["checks"] if r["tensor"] == "out/y")
    assert row["max_abs"] <= row["allowance"] == pytest.approx(4 * row["tolerance"])
    assert 0 < row["rel_l2"] < 1e-5


def test_tables_can_be_told_as_json_too() -> None:
    checks = check_set(GOLDEN / "iddpm_tables_v1.1.json", NumpyOps("cpu", "float32"))
    report = Report("folder", "numpy", "cpu", "float32", "rule", tuple(checks), 0.0)
    assert json.loads(json.dumps(report.to_dict()))["ok"]


def test_nothing_compared_is_not_a_pass() -> None:
    assert not Report("folder", "numpy", "cpu", "float32", "rule", (), 0.0).ok


def copy_set(folder: Path, **changes: Any) -> dict[str, Any]:
    """Copy one small set, its JSON fields changed, and return its tensors."""
    table = json.loads(STDIT3.read_text())
    (folder / STDIT3.name).write_text(json.dumps({**table, **changes}))
    shutil.copy(STDIT3.with_suffix(".safetensors"), folder)
    return read_safetensors(STDIT3.with_suffix(".safetensors"))
