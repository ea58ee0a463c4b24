"""The plots of a report as one picture, by Matplotlib: the roofline, and time and memory against tokens."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from typing import Any

from opensora_core.errors import MissingDependencyError

from .curves import MEASURES, Curve, scaling, with_slope
from .plots import color_of
from .results import Document

PANEL = (7.0, 4.2)  # inches
DOTS = 130  # an inch


def png(document: Document) -> bytes:
    """The roofline, and below it a panel for each curve. Raises MissingDependencyError where Matplotlib is missing."""
    curves = _curves(document)
    figure, panels = _figure(1 + len(curves), 1)
    _roofline(panels[0], document)
    for panel, curve in zip(panels[1:], curves, strict=True):
        _curve(panel, *curve, color_of(document))
    return _bytes(figure)


def scaling_png(document: Document) -> bytes:
    """The curves alone: a column for each measure. Raises MissingDependencyError where Matplotlib is missing."""
    curves = _curves(document)
    rows = len(curves) // len(MEASURES)
    figure, panels = _figure(rows, len(MEASURES))
    for i, curve in enumerate(curves):
        _curve(panels[i % rows * len(MEASURES) + i // rows], *curve, color_of(document))
    return _bytes(figure)


def _curves(document: Document) -> list[tuple[str, str, dict[str, Curve]]]:
    """Title, unit and curves by provider of each panel."""
    return [
        (f"{name}: {title}", unit, by)
        for measure, (title, unit) in MEASURES.items()
        for name, by in scaling(document, measure).items()
    ]


def _figure(rows: int, columns: int) -> tuple[Any, Any]:
    """An empty figure and its panels, row by row."""
    if importlib.util.find_spec("matplotlib") is None:
        reason = "plots as PNG need the package 'matplotlib', which is not installed"
        raise MissingDependencyError(f"{reason}: pip install 'opensora-core[plot]'", name="matplotlib")
    from matplotlib.figure import Figure

    figure = Figure((PANEL[0] * columns, PANEL[1] * rows), dpi=DOTS, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def _bytes(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _curve(panel: Any, title: str, unit: str, by: Mapping[str, Curve], colors: Mapping[str, str]) -> None:
    for provider, points in by.items():
        panel.plot(*zip(*points, strict=True), "o-", color=colors[provider], label=with_slope(provider, points))
    _finish(panel, title, "tokens", unit)


def _roofline(panel: Any, document: Document) -> None:
    line, colors = document["roofline"], color_of(document)
    for provider, color in colors.items():
        rows = [r for r in document["results"] if r["provider"] == provider and r["status"] == "ok" and r["flops"]]
        if rows:
            places = [row["intensity"] for row in rows], [row["tflops"] for row in rows]
            panel.plot(*places, "o", color=color, label=provider)
    ridge = line["flops"] / line["bytes"]
    among = [ridge / 10, 10 * ridge, *(row["intensity"] for row in document["results"] if row.get("flops"))]
    ends = [min(among), ridge, max(among)]
    panel.plot(ends, [min(x, ridge) * line["bytes"] / 1e12 for x in ends], color="black")
    _finish(panel, "Roofline of this machine, as measured", "FLOPs a byte", "TFLOP/s")


def _finish(panel: Any, title: str, x: str, y: str) -> None:
    panel.set(title=title, xlabel=x, ylabel=y, xscale="log", yscale="log")
    panel.grid(alpha=0.3)
    if panel.get_legend_handles_labels()[1]:
        panel.legend(fontsize="small")
    else:
        panel.text(0.5, 0.5, "nothing that has FLOPs was timed", ha="center", transform=panel.transAxes)
