"""Damaged files of results are refused with what is wrong; comparisons and pictures tell what has no time."""

from __future__ import annotations

import contextlib
import copy
import json

import pytest
from matplotlib.axes import Axes

from opensora_benchmarks.compare import compare
from opensora_benchmarks.report_html import html
from opensora_benchmarks.report_markdown import markdown
from opensora_benchmarks.report_png import png
from opensora_benchmarks.report_table import csv_text, terminal
from opensora_benchmarks.results import load
from opensora_core.errors import FileFormatError, InvalidInputError
from tests.benchmarks.test_bench import document, opensora, samples

ODD = (None, True, "text", -1.0, 0, float("nan"), 10**400, [], [1], {}, {"a": []})
GOOD = document(samples(0, n=5), row={"shape": {"tokens": 3}})


def places(value, at=()):
    """The way to everything in a document."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def changed(at, value):
    found = copy.deepcopy(GOOD)
    inner = found
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return found


@pytest.mark.parametrize("odd", ODD, ids=lambda value: repr(value)[:8])
def test_whatever_is_read_can_be_reported_and_compared(tmp_path, odd):
    refused = 0
    for at in (at for at in places(GOOD) if at):
        file = tmp_path / "r.json"
        file.write_text(json.dumps(changed(at, odd)))
        try:
            found = load(file)
        except FileFormatError:
            refused += 1
            continue
        assert all((csv_text(found), markdown(found), html(found), terminal(found))), at
        with contextlib.suppress(InvalidInputError):  # of another machine, or with nothing in common
            compare(GOOD, found)
    assert refused >= 15


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "Expecting value"),
        (b"\x80\x00", "can't decode"),
        (b"[" * 100_000, "recursion"),
        (json.dumps({**GOOD, "results": 3}).encode(), "'results' must be a list, not 3"),
        (json.dumps(changed(("results", 0, "samples_s"), [])).encode(), "row 1: 'samples_s' must be a list of finite"),
        (json.dumps(changed(("results", 0, "samples_s", 1), -1)).encode(), "'samples_s' must be above 0, not [-1]"),
        (json.dumps(changed(("environment",), {"seed": 1})).encode(), "'environment' lacks processor"),
    ],
)
def test_damage_is_told_by_every_command(tmp_path, content, complaint):
    file, good = tmp_path / "r.json", tmp_path / "good.json"
    file.write_bytes(content)
    good.write_text(json.dumps(GOOD))
    for command in (("report", file), ("compare", good, file), ("compare", file, good)):
        result = opensora(*command)
        assert result.exit_code == 2, result.output
        assert f"{file} holds no results of `opensora bench run`" in result.stderr
        assert complaint in result.stderr


def test_a_partial_file_without_a_head_is_refused(tmp_path):
    file = tmp_path / "r.json.partial"
    for text in ("", "3\n", '{"schema": "opensora-be'):
        file.write_text(text)
        with pytest.raises(FileFormatError, match="holds no results"):
            load(file)


def test_rows_that_lost_their_time_or_vanished_are_told(tmp_path):
    good, refused = GOOD["results"]
    raised = {**good, "status": "error", "reason": "ValueError: no"}
    other, left_out = {**good, "provider": "other"}, {**good, "provider": "other", "status": "skip", "reason": "big"}
    files = {"a": [good, refused], "error": [raised, refused], "more": [good, other], "less": [good, left_out]}
    for name, rows in files.items():
        (tmp_path / name).write_text(json.dumps({**GOOD, "results": rows}))
    told = {
        ("a", "error"): (1, ["gelu/x  numpy: ok in A, ERROR in B: ValueError: no"]),
        ("error", "a"): (0, ["gelu/x  numpy: ERROR in A, ok in B"]),
        ("a", "more"): (0, ["gelu/x  theirs: only in A", "gelu/x  other: only in B"]),
        ("more", "less"): (0, ["gelu/x  other: ok in A, SKIP in B: big"]),
        ("a", "a"): (0, []),
    }
    for (a, b), (code, lines) in told.items():
        result = opensora("compare", tmp_path / a, tmp_path / b)
        assert (result.exit_code, [x for x in result.stdout.splitlines() if " in A" in x or " in B" in x]) == (
            code,
            lines,
        )
    (change,) = json.loads(opensora("compare", tmp_path / "a", tmp_path / "error", "--json").stdout)["changes"]
    assert (change["case"], change["provider"], change["lost"]) == ("gelu/x", "numpy", True)


def test_a_picture_names_only_who_has_a_point_and_says_when_nobody_has(monkeypatch):
    legends, texts = [], []
    monkeypatch.setattr(Axes, "legend", lambda self, **k: legends.append(self.get_legend_handles_labels()[1]))
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **k: texts.append(text))
    assert png(GOOD).startswith(b"\x89PNG")
    assert (legends, texts) == ([["numpy"]], [])
    png({**GOOD, "results": GOOD["results"][1:]})
    assert (len(legends), texts) == (1, ["nothing that has FLOPs was timed"])
