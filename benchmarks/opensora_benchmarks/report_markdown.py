"""Results as one Markdown table, a line for each case and provider, with the command and the machine at its foot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .report_table import about, by_case, duration, memory, sizes, untimed
from .results import Document

HEADINGS = ("case", "sizes", "provider", "median", "x", "rate", "roofline", "memory", "verdict")
ALIGNED = "|---|---|---|---:|---:|---:|---:|---:|---|"
Row = Mapping[str, Any]


def markdown(document: Document) -> str:
    """The table; of each case the fastest first, then why others have no time. `x` is the ratio to the fastest."""
    lines = [_line(HEADINGS), ALIGNED]
    for case, rows in by_case(document):
        for number, cells in enumerate(_lines(rows)):
            shown = (f"`{case}`", sizes(rows[0])) if number == 0 else ("", "")
            lines.append(_line((*shown, *cells)))
    return "\n".join([*lines, "", *(f"{line}  " for line in _foot(document))]) + "\n"


def _lines(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    """What is told of every provider of a case, from its name on."""
    timed = [row for row in rows if row["status"] == "ok"]
    for row in timed:
        yield (
            row["provider"], duration(row["median_s"]), f"{row['median_s'] / timed[0]['median_s']:.2f}", _rate(row),
            f"{row['roofline_share']:.0%}", memory(row), f"ok, {row['error_of_allowed']:.2g} of the error allowed",
        )  # fmt: skip
    for status, reason, providers in untimed(rows):
        yield ", ".join(providers), *("–",) * 5, f"{status.upper()}: {reason}"


def _rate(row: Row) -> str:
    """By what bounds the case: products or memory."""
    if row["bound"] == "memory":
        return f"{row['gbs']:.3g} GB/s"
    return f"{row['tflops']:.3g} TFLOP/s" if row["tflops"] >= 1 else f"{row['tflops'] * 1e3:.3g} GFLOP/s"


def _foot(document: Document) -> Iterator[str]:
    if not document["results"]:
        return
    row, command = document["results"][0], document.get("command")
    if command:
        yield f"Made by `{command}`: {row['dtype']}, {row['cache']} caches."
    yield from about({**document, "command": None})


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
