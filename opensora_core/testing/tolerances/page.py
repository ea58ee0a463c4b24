"""The figures as tables of docs/tolerances.md, between two markers."""

from __future__ import annotations

from pathlib import Path

from ...errors import FileFormatError
from ...serialization.atomic import atomic_file
from .figures import Figure, Tolerances

START, END = "<!-- measured: start -->", "<!-- measured: end -->"


def tables(tolerances: Tolerances) -> str:
    """Markdown: one table a dtype, one row an op that rounds; the ops without error in one line."""
    a = tolerances.about
    versions = ", ".join(f"{name} {version}" for name, version in a["versions"].items())
    parts = [f"{a['draws']} draws of every op's arguments (seed {a['seed']}) on {a['machine']} with {versions}."]
    for dtype in dict.fromkeys(dtype for _, dtype, _, _ in tolerances):
        parts.append(_table(tolerances, dtype))
    silent = [f"`{op}`" for op in tolerances.ops if not _errs(tolerances, op)]
    parts.append(f"No error, in any dtype on any backend: {', '.join(silent)}.")
    return "\n\n".join(parts)


def _table(tolerances: Tolerances, dtype: str) -> str:
    names = tolerances.backends
    head = [f"| {dtype} | " + " | ".join(f"{name}: ratio | error" for name in names) + " |"]
    head.append("|---" * (1 + 2 * len(names)) + "|")
    rows = []
    for op in tolerances.ops:
        found = tolerances.of(op, dtype)
        if found and _errs(tolerances, op):
            rows.append(
                f"| {op} | " + " | ".join(_cells(found[name]) if name in found else " | " for name in names) + " |"
            )
    return "\n".join(head + rows)


def _cells(f: Figure) -> str:
    ratio = f"{f.ratio_p999:.2f} / {f.ratio_max:.2f}" if f.ratio_max else "0"
    return f"{ratio} | {_share(f.relative_p999)} / {_share(f.relative_max)}" if f.relative_max else f"{ratio} | 0"


def _share(error: float) -> str:
    """A relative error; of a truth that is nearly 0 no digit is right, and how many times too large says nothing."""
    return f"{error:.1e}" if error < 1 else "all"


def _errs(tolerances: Tolerances, op: str) -> bool:
    return any(figure.relative_max for name, _, _, figure in tolerances if name == op)


def write(tolerances: Tolerances, path: Path) -> None:
    """Replace what is between the markers of a page; raises FileFormatError if it does not have them."""
    text = path.read_text(encoding="utf-8")
    if text.count(START) != 1 or text.count(END) != 1:
        raise FileFormatError(f"{path}: expected one line {START} and one {END}, between which the tables go")
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2]
    with atomic_file(path) as temporary:
        temporary.write_text(f"{before}{START}\n\n{tables(tolerances)}\n\n{END}{after}", encoding="utf-8")
