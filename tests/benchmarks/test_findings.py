"""The table of what was found in the docs is what the command makes of the files, and tells what falls short."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from opensora_benchmarks import findings
from opensora_core.errors import InvalidInputError

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_the_page_holds_what_the_files_say(capsys):
    findings.main([])
    printed = capsys.readouterr().out
    remedy = "python -m opensora_benchmarks.findings --write docs/benchmarks.md"
    assert f"{findings.MARKS[0]}{printed}{findings.MARKS[1]}" in PAGE.read_text("utf-8"), f"old numbers: {remedy}"


def test_what_falls_short_is_bold_and_has_its_reason(tmp_path):
    shutil.copytree(findings.RESULTS, tmp_path / "r")
    file = tmp_path / "r" / "profile_generation.json"
    document = json.loads(file.read_text())
    lines = []
    for ratio in (1.39, 1.46):
        document["times_the_floor"] |= {"numpy": {"median": 1.6}, "numba": {"median": ratio}}
        document["milliseconds"] |= {"floor": 400.0, "in order": 456.0}
        file.write_text(json.dumps(document))
        lines += [line for line in findings.table(tmp_path / "r").splitlines() if "matrix products alone" in line]
    assert "| ≤ 2 (numpy), ≤ 1.4 (numba) | 1.60 (numpy), 1.39 (numba) |" in lines[0]
    assert "1.60 (numpy), **1.46** (numba). The floor" in lines[1]
    assert "take 1.14 times the floor" in lines[1]


def test_a_page_gets_the_new_table_and_what_is_missing_is_named(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{findings.MARKS[0]}old\n{findings.MARKS[1]}after\n", "utf-8")
    findings.main(["--write", str(page)])
    assert page.read_text("utf-8") == f"before\n{findings.MARKS[0]}{findings.table()}{findings.MARKS[1]}after\n"
    with pytest.raises(InvalidInputError, match="lacks the marks"):
        findings.rewritten("no marks", "")
    with pytest.raises(InvalidInputError, match=r"dispatch --json .*dispatch\.json"):
        findings.table(tmp_path)
