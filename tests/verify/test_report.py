"""A verification tells its verdicts as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.verify import Report, check_set, verify
from tests.verify.sets import GOLDEN, copy_set


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


def test_the_backend_is_called_what_it_was_asked_for() -> None:
    target = "opensora_backends.numpy_ops:NumpyOps"
    sets = len(list((GOLDEN / "keys").iterdir()))
    assert verify(GOLDEN / "keys", backend=target).summary.startswith(
        f"PASS: {sets} golden sets, {sets} pass; {target}"
    )
