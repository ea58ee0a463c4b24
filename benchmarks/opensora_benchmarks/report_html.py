"""Results as one HTML page that needs nothing else: a sortable table with strips of samples, and the roofline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from .curves import scaling_plots
from .plots import color_of, roofline_plot, strip
from .report_table import HEADINGS, about, by_case, cells, title
from .results import Document

Row = Mapping[str, Any]
SORT_KEYS = (None, "median_s", "p80_s", "n", "median_s", "tflops", "gbs", "roofline_share", None, "first_call_s")
"""What a click on each heading sorts by; None: the text that is shown."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #888 }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1320px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; white-space: pre-wrap }
p.about { color: var(--dim); margin: .2rem 0; font-size: .85rem }
div.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; min-width: 1240px;
  table-layout: fixed; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child { text-align: left; width: 14em; overflow: hidden; text-overflow: ellipsis }
th:nth-child(3) { width: 10em } th:nth-child(4), th:nth-child(5) { width: 2.6em } th:nth-child(8) { width: 9em }
th:last-child { width: 250px }
th { cursor: pointer; font-size: .82rem }
th[aria-sort=ascending]::after { content: " \\2191" } th[aria-sort=descending]::after { content: " \\2193" }
tr.fail td { color: #c0392b } tr.skip td { color: var(--dim) } td.why { text-align: left; white-space: normal }
i.dot { display: inline-block; width: .65em; height: .65em; border-radius: 50%; margin-right: .5em }
svg text { font-size: 12px; fill: currentColor } .grid { stroke: var(--line) } svg.strip { vertical-align: middle }
.roof { fill: none; stroke: currentColor; stroke-width: 2; clip-path: url(#area) }
"""
SCRIPT = """
for (const th of document.querySelectorAll("th")) th.onclick = () => {
  const body = th.closest("table").tBodies[0], column = th.cellIndex, up = th.ariaSort !== "ascending";
  for (const other of th.parentNode.cells) other.ariaSort = null;
  th.ariaSort = up ? "ascending" : "descending";
  const key = row => row.cells[column]?.dataset.key ?? row.cells[column]?.textContent ?? "";
  const order = (a, b) => isNaN(a) || isNaN(b) || a === "" || b === "" ? a.localeCompare(b) : a - b;
  const timed = [...body.rows].filter(row => !row.className);
  timed.sort((a, b) => order(key(a), key(b)) * (up ? 1 : -1));
  body.prepend(...timed);
};
"""


def html(document: Document) -> str:
    """The page."""
    colors = color_of(document)
    sections = "".join(_section(document, rows, colors) for _, rows in by_case(document))
    lines = "".join(f'<p class="about">{escape(line)}</p>' for line in about(document))
    plot = roofline_plot(document)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>opensora bench</title><style>{STYLE}</style><h1>opensora bench</h1>{lines}"
        f"<p>{_legend(colors)}</p>"
        + (f"<h2>Roofline of this machine, as measured</h2>{plot}" if plot else "")
        + f"{scaling_plots(document)}{sections}<script>{SCRIPT}</script></html>\n"
    )


def _legend(colors: Mapping[str, str]) -> str:
    return " &ensp; ".join(_named(name, color) for name, color in colors.items())


def _named(name: str, color: str) -> str:
    return f'<i class="dot" style="background:{color}"></i>{escape(name)}'


def _section(document: Document, rows: Sequence[Row], colors: Mapping[str, str]) -> str:
    headings = "".join(f"<th>{escape(heading)}</th>" for heading in (*HEADINGS, "samples"))
    body = "".join(_rows(rows, colors))
    table = f"<table><thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table>"
    return f'<h2>{escape(title(document, rows))}</h2><div class="wide">{table}</div>'


def _rows(rows: Sequence[Row], colors: Mapping[str, str]) -> Iterator[str]:
    """Those with a time, fastest first, then why the others have none."""
    timed = [row for row in rows if row["status"] == "ok"]
    low = min((s for row in timed for s in row["samples_s"]), default=1.0)
    high = max((s for row in timed for s in row["samples_s"]), default=1.0)
    for row in timed:
        shown, color = cells(row, timed[0]["median_s"]), colors[row["provider"]]
        first = f"<td>{_named(shown[0], color)}</td>"
        rest = "".join(_cell(text, row, key) for text, key in zip(shown[1:], SORT_KEYS[1:], strict=True))
        yield f"<tr>{first}{rest}<td>{strip(row['samples_s'], low, high, color)}</td></tr>"
    for row in rows:
        if row["status"] != "ok":
            why = escape(f"{row['status'].upper()}: {row['reason']}")
            kind = "skip" if row["status"] == "skip" else "fail"
            yield f'<tr class="{kind}"><td>{escape(row["provider"])}</td><td class="why" colspan="10">{why}</td></tr>'


def _cell(text: str, row: Row, key: str | None) -> str:
    return f'<td data-key="{row[key]}">{escape(text)}</td>' if key else f"<td>{escape(text)}</td>"
