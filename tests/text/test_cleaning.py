"""Cleaning of prompts: the official cases through `verify`, and what holds for any text."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opensora_core.errors import FileFormatError, MissingDependencyError
from opensora_core.testing.conformance.pytest_api import require
from opensora_core.text.cleaning import clean_once, clean_prompt
from opensora_core.verify.golden import GoldenSet
from opensora_core.verify.runner import check_set
from opensora_core.verify.text_clean import text_clean

require("ftfy")
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "text_clean.json"


def test_the_official_cases_are_met():
    checks = text_clean(GoldenSet.load(GOLDEN))
    assert len(checks) == len(json.loads(GOLDEN.read_text())) == 22
    assert [check.note for check in checks if check.verdict != "pass"] == []


def test_another_text_fails_its_row_and_another_form_the_set(tmp_path):
    path = tmp_path / "text_clean.json"
    path.write_text(json.dumps([["A Cat", "a cat", "a cat"], ["<b>x", "x", "y"]]))
    assert [check.verdict for check in text_clean(GoldenSet.load(path))] == ["pass", "fail"]
    for broken in ([], [["a", "a"]], {"a": 1}):
        path.write_text(json.dumps(broken))
        with pytest.raises(FileFormatError, match="no list of rows"):
            text_clean(GoldenSet.load(path))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (
            "a 4k video of an MP4 player, 3d, 1080p, boeing747, h2o",
            "a 4k video of an mp4 player, 3d, 1080p, boeing747, h2o",
        ),
        ("cat <!-- hidden > --> dog <br/>bird<p>fish, <i>sn</i>ow", "cat dog bird fish, snow"),
        ("a < b", "a < b"),
        ('see <a href="https://a.b/c">the sea</a> or mail me@sea.com', "see the sea or mail"),
        ("snow ﬂakes www.snow.org", "snow flakes"),
        ("a cat, cat.jpg, a dog (cat-2.mp4)", "a cat, a dog"),
        ("well-known low-key", "well-known low-key"),
        ("&amp;quot;sea&amp;quot; &amp;amp; sand", "sea sand"),
        ("player #7 in 2020, sku: a77", "player 7 in 2020"),
        ("かな 한글 東京　tokyo © ¾ ☃ at 45°", "tokyo at 45°"),
        ("first\\nsecond . third", "first second third"),
        ("a 4x4 car, page 3 of 12 png 640 x 480 px", "a 4x4 car"),
        ('"a cat" and "a dog"', '"a cat" and "a dog"'),
        ("he said: 'go.'", "he said: 'go."),
        ("scene : night,10,000 lights", "scene: night, 10,000 lights"),
    ],
)
def test_what_is_dropped_and_what_stays(text, cleaned):
    assert clean_prompt(text) == cleaned


@given(st.text(max_size=60))
@example("<![foo[x]]>")
@example("%e9%")
def test_any_text_becomes_one_line(text):
    once = clean_once(text)
    assert "\n" not in once
    assert "  " not in once
    assert once == once.strip()


def test_without_ftfy_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'opensora-core\[text\]'"):
        clean_prompt("a cat")
    shutil.copy(GOLDEN, tmp_path)
    (check,) = check_set(tmp_path / GOLDEN.name, ops=None)
    assert check.verdict == "error"
    assert "opensora-core[text]" in check.note
