"""A verification says what it could not read, run or compare."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.serialization.writer import write_safetensors
from opensora_core.verify import verify
from tests.verify.sets import GOLDEN, STDIT3, copy_set


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


def test_half_precision_is_refused_where_its_yardstick_is_off(tmp_path: Path) -> None:
    tensors = copy_set(tmp_path)
    write_safetensors(tmp_path / "stdit3_skipy.safetensors", {**tensors, "skipy/out64/y": tensors["skipy/out64/y"] + 1})
    report = verify(tmp_path, dtype="bfloat16")
    assert not report.ok
    assert [c.verdict for c in report.checks] == ["error"]
    assert "NumPy float64, the yardstick, is itself off in 1 tensors, first skipy/out/y" in report.checks[0].note
