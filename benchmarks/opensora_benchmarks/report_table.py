"""Results as tables: in a terminal, and as CSV with a line for every sample."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from .results import Document
from .roofline import too_low

HEADINGS = ("provider", "median", "p20 - p80", "n", "x", "TFLOP/s", "GB/s", "roofline", "memory", "first call")
COLORS = {"fail": "bold red", "error": "red", "skip": "dim"}
FLAT = (
    "suite", "case", "op", "shape", "dtype", "provider", "device", "cache", "flushed_bytes", "clock", "status",
    "reason", "median_s", "p20_s", "p80_s", "min_s", "n", "rse", "ended", "first_call_s", "flops", "bytes", "intensity",
    "tflops", "gbs", "roofline_share", "bound", "error_of_allowed", "inputs",
)  # fmt: skip
MEMORY = ("host", "device")
MACHINE = ("processor", "processors", "gpu", "system", "threads", "blas", "date", "commit", "seed")
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
Row = Mapping[str, Any]


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    scale, unit = next(((s, u) for s, u in UNITS if seconds >= s), UNITS[-1])
    return f"{seconds / scale:.3g} {unit}"


def by_case(document: Document) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each case, fastest first; then those without a time."""
    for case, rows in groupby(document["results"], key=lambda row: row["case"]):
        yield case, sorted(rows, key=lambda row: row.get("median_s", float("inf")))


def cells(row: Row, fastest: float) -> list[str]:
    """What a table shows of a row that has a time."""
    return [
        row["provider"], duration(row["median_s"]), f"{duration(row['p20_s'])} - {duration(row['p80_s'])}",
        str(row["n"]), f"{row['median_s'] / fastest:.2f}", f"{row['tflops']:.3g}", f"{row['gbs']:.3g}",
        f"{row['roofline_share']:.0%} {row['bound']}", memory(row), duration(row["first_call_s"]),
    ]  # fmt: skip


def memory(row: Row) -> str:
    """What a call takes at most, of the device if there is one."""
    size = row["peak_memory"]["device"] or row["peak_memory"]["host"]
    return "?" if size is None else f"{size / 2**20:.1f} MiB"


def sizes(row: Row) -> str:
    """Of the case."""
    return " ".join(f"{name}={value}" for name, value in row["shape"].items())


def title(document: Document, rows: Sequence[Row]) -> str:
    """Case, sizes, dtype and state of the caches."""
    row = rows[0]
    return f"{row['case']}  {sizes(row)}  {row['dtype']}, {row['cache']} caches"


def about(document: Document) -> list[str]:
    """Lines on the machine, its roofline and the run."""
    e, roofline = document["environment"], document["roofline"]
    threads = ", ".join(f"{name}={value}" for name, value in e["threads"].items()) or "threads not limited"
    device = e["gpu"] or f"{e['processor']}, {e['processors']} processors"
    command = document.get("command")  # runs of earlier releases have none
    return [
        *([f"made by: {command}"] if command else []),
        f"{device}; {threads}; {e['blas']}; load {e['load']}; {e['date']}; commit {e['commit'] or 'unknown'}; "
        f"seed {e['seed']}",
        f"roofline: {roofline['flops'] / 1e12:.3g} TFLOP/s in {roofline['dtype']} by {roofline['by'][0]}, "
        f"{roofline['bytes'] / 1e9:.3g} GB/s by {roofline['by'][1]}",
        *([warning] if (warning := too_low(document)) else []),
    ]


def terminal(document: Document) -> Group:
    """Everything for rich to print."""
    parts: list[Any] = []
    for _, rows in by_case(document):
        table = Table(title=title(document, rows), title_justify="left", title_style="bold")
        for number, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="right" if number else "left")
        timed = [row for row in rows if row["status"] == "ok"]
        for row in timed:
            table.add_row(*cells(row, timed[0]["median_s"]))
        parts += [table] if timed else [Text(title(document, rows), "bold")]
        parts += [Text(f"  {s.upper()}  {', '.join(who)}: {why}", COLORS[s]) for s, why, who in untimed(rows)]
        parts.append(Text())
    return Group(*parts, *(Text(line, "dim") for line in about(document)))


def csv_text(document: Document) -> str:
    """One line for each sample of each row: the row, its memory in bytes, the machine, then number and seconds."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*FLAT, *(f"peak_memory_{where}" for where in MEMORY), *MACHINE, "sample", "seconds"])
    machine = [_flat(document["environment"].get(name)) for name in MACHINE]
    for row in document["results"]:
        peaks = row["peak_memory"] if row["status"] == "ok" else {}
        values = [*(_flat(row.get(name)) for name in FLAT), *(peaks.get(where) for where in MEMORY), *machine]
        for number, seconds in enumerate(row.get("samples_s", [""])):
            writer.writerow([*values, number, seconds])
    return file.getvalue()


def untimed(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[str]]]:
    """Status, reason and providers of rows without a time, those for the same reason told together."""
    others = [row for row in rows if row["status"] != "ok"]
    for (status, reason), same in groupby(others, key=lambda row: (row["status"], row["reason"])):
        yield status, reason, [row["provider"] for row in same]


def _flat(value: Any) -> Any:
    return " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
