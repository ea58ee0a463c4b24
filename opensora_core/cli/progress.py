"""Progress on stderr: a bar on a terminal, short lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .screen import Advance

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def bar(title: str) -> Iterator[Advance]:
    """A bar that disappears when it is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    layout = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*layout, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(title, total=None, text="")
        yield lambda done, total, text="": progress.update(task, completed=done, total=total, text=text)


def lines(title: str, say: Callable[[str], None]) -> Advance:
    """A line every ten seconds and one at the end, with the time left."""
    start = last = time.monotonic()
    first: int | None = None

    def advance(done: int, total: int, text: str = "") -> None:
        nonlocal last, first
        now = time.monotonic()
        first = done if first is None else first
        if done < total and now - last < SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = (done - first) / (now - start) if done > first else 0.0
        left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
        say(f"{title} {done}/{total}{left}{', ' + text if text else ''}")

    return advance


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
