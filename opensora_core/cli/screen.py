"""What a verb shows: its result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.text import Text

COLORS = {"ok": "green", "pass": "green", "yes": "green", "warn": "yellow", "fail": "red", "no": "yellow"}


class Advance(Protocol):
    """Moves a progress bar: so many of `total` are done, and perhaps a word on how it goes."""

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Show it."""


class Screen:
    """Where a verb writes.

    json: stdout gets one JSON document. quiet: stderr gets nothing but errors. Colours only on a terminal, and not with
    NO_COLOR.
    """

    def __init__(self, json: bool = False, quiet: bool = False) -> None:
        self.json, self.quiet = json, quiet
        self.notes: list[str] = []

    def result(self, document: Mapping[str, Any], *lines: str | Text) -> None:
        """Write the result once: as JSON, with the notes so far, or as lines of text."""
        if self.json:
            write_json({**document, "notes": self.notes})
            return
        from rich.console import Console

        console = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
        with console.capture() as captured:  # for rich would end the program where a pipe is closed
            for line in lines:
                console.print(line)
        sys.stdout.write(captured.get())
        sys.stdout.flush()

    def note(self, message: str) -> None:
        """Tell something worth knowing that is no error."""
        self.notes.append(message)
        self.say(f"note: {message}")

    def say(self, text: str) -> None:
        """Tell how things go."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, title: str, *, report: bool = False) -> Iterator[Advance]:
        """A bar with the time left while stderr is a terminal; else nothing, or with `report` a line now and then."""
        from .progress import bar, lines

        if self.quiet or not (sys.stderr.isatty() or report):
            yield lambda done, total, text="": None
        elif sys.stderr.isatty():
            with bar(title) as advance:
                yield advance
        else:
            yield lines(title, self.say)


def write_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2, allow_nan=False), flush=True)


def columns(rows: Sequence[Sequence[str]]) -> list[Text]:
    """Rows of cells as aligned lines, the first row being the heading; verdicts in colour."""
    from rich.text import Text

    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append(cell.ljust(width) + "  ", "bold" if number == 0 else COLORS.get(cell, ""))
        line.rstrip()
        lines.append(line)
    return lines
