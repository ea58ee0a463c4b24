"""The drift of a comparison as a picture, drawn by Matplotlib, which is optional."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from ..errors import MissingDependencyError
from ..serialization.atomic import atomic_file
from .report import Report


def check_drawing() -> None:
    """Raise MissingDependencyError, naming the extra, unless pictures can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "a picture of the drift needs the package 'matplotlib', which is not installed: "
            "pip install 'opensora-core[plot]'"
        )


def draw(report: Report, path: Path) -> None:
    """Write relative L2 against op index, a line for each step of the sampler, whole or not at all.

    Ops without any difference leave a gap, since the axis is logarithmic; infinite ones stand at the top.
    """
    check_drawing()
    from matplotlib.figure import Figure

    curve = np.array(report.drift.curve)
    top = max(curve[np.isfinite(curve)].max(initial=0.0), report.limit) * 10
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.add_subplot()
    shown = np.where(curve > 0, np.minimum(curve, top), np.nan)
    axes.plot(shown, ".", markersize=2, color="tab:blue", label="each op")
    for end in report.drift.marks:
        axes.axvline(end, color="0.9", linewidth=0.5, zorder=0)
    if report.mode == "own":
        axes.axhline(report.limit, color="tab:orange", linewidth=1, label=f"limit {report.limit:.3g}")
        steps = [(end, d.rel_l2) for end, d in zip(report.drift.marks, report.latents, strict=True) if d.rel_l2 > 0]
        if steps:
            ends, drifts = zip(*steps, strict=True)
            axes.plot(ends, np.minimum(drifts, top), color="black", linewidth=1, label="latents after each step")
    if report.first is not None:
        name = f"#{report.first.index} {report.first.op}, {report.first.place.module or report.first.place.function}"
        axes.axvline(report.first.index, color="tab:red", linewidth=1, label=f"first beyond tolerance: {name}")
    axes.set(yscale="log", xlabel="op", ylabel="relative L2 difference", title=report.summary)
    axes.title.set_fontsize("small")
    axes.legend(loc="lower right", fontsize="small")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.lower().lstrip("."))
