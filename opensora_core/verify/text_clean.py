"""Tables of prompts, [as written, cleaned once, cleaned twice]: whether the cleaning here gives the same texts."""

from __future__ import annotations

from dataclasses import replace

from ..errors import FileFormatError
from ..text.cleaning import PASSES, clean_once
from .golden import GoldenSet
from .report import Check


def text_clean(golden: GoldenSet) -> list[Check]:
    """One row for each prompt; raises FileFormatError for a table of another form."""
    rows = golden.table
    if not isinstance(rows, list) or not rows or not all(_is_row(row) for row in rows):
        raise FileFormatError(f"golden set {golden.path} is no list of rows [prompt, cleaned once, cleaned twice]")
    return [_judge(golden, number, *row) for number, row in enumerate(rows, 1)]


def _judge(golden: GoldenSet, number: int, prompt: str, *expected: str) -> Check:
    row = Check(golden.name, golden.kind, golden.version, f"row {number}", "text", "pass")
    text = prompt
    for done, want in enumerate(expected, 1):
        text = clean_once(text)
        if text != want:
            return replace(row, verdict="fail", note=f"{prompt!r} after pass {done} is {text!r}, expected {want!r}")
    return row


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == PASSES + 1 and all(isinstance(text, str) for text in row)
