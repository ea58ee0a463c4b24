"""The plots of a report as one picture, by Matplotlib: the roofline, and time and memory against tokens."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

from opensora_core.errors import MissingDependencyError

from .plots import color_of
from .results import Document
from .scaling import MEASURES, scaling

PANEL = (7.0, 4.2)  # inches
DOTS = 130  # an inch


def png(document: Document) -> bytes:
    """The picture. Raises MissingDependencyError where Matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        reason = "plots as PNG need the package 'matplotlib', which is not installed"
        raise MissingDependencyError(f"{reason}: pip install 'opensora-core[plot]'", name="matplotlib")
    from matplotlib.figure import Figure

    curves = [
        (f"{name}: {title}", unit, by)
        for measure, (title, unit) in MEASURES.items()
        for name, by in scaling(document, measure).items()
    ]
    count = 1 + len(curves)
    figure = Figure((PANEL[0], PANEL[1] * count), dpi=DOTS, layout="constrained")
    panels = figure.subplots(count, 1, squeeze=False)[:, 0]
    _roofline(panels[0], document)
    for panel, (title, unit, by) in zip(panels[1:], curves, strict=True):
        for provider, points in by.items():
            panel.plot(*zip(*points, strict=True), "o-", color=color_of(document)[provider], label=provider)
        _finish(panel, title, "tokens", unit)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _roofline(panel: Any, document: Document) -> None:
    line, colors = document["roofline"], color_of(document)
    for provider, color in colors.items():
        rows = [r for r in document["results"] if r["provider"] == provider and r["status"] == "ok" and r["flops"]]
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
    panel.legend(fontsize="small")
