"""How time and memory grow with the number of tokens: curves found in results, and drawn as SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from html import escape
from typing import Any

from .plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, axes, color_of, powers, scale
from .results import Document

Curve = list[tuple[int, float]]
Curves = dict[str, dict[str, Curve]]
MEASURES = {"median_s": ("time", "seconds"), "peak": ("memory of a call", "MiB")}


def scaling(document: Document, measure: str) -> Curves:
    """Points (tokens, seconds or MiB) by what is scaled and provider: rows whose cases differ in `tokens` alone."""
    found: Curves = defaultdict(lambda: defaultdict(list))
    for row in document["results"]:
        if row["status"] == "ok" and "tokens" in row["shape"] and (value := _value(row, measure)):
            found[row["case"].rpartition("-")[0]][row["provider"]].append((row["shape"]["tokens"], value))
    curves = {
        name: {provider: sorted(points) for provider, points in by.items() if len(points) > 1}
        for name, by in found.items()
    }
    return {name: by for name, by in curves.items() if by}


def _value(row: Mapping[str, Any], measure: str) -> float | None:
    if measure == "median_s":
        return float(row["median_s"])
    memory = row["peak_memory"]["device"] or row["peak_memory"]["host"]
    return memory / 2**20 if memory else None


def scaling_plots(document: Document) -> str:
    """Plots of everything that was run at several numbers of tokens, with headings; "" if nothing was."""
    return "".join(
        f"<h2>{escape(name)}: {title} against tokens</h2>{_plot(by, unit, color_of(document))}"
        for measure, (title, unit) in MEASURES.items()
        for name, by in scaling(document, measure).items()
    )


def _plot(by: Mapping[str, Curve], unit: str, colors: Mapping[str, str]) -> str:
    points = [point for curve in by.values() for point in curve]
    xs, ys = powers([tokens for tokens, _ in points]), powers([value for _, value in points])
    x, y = scale(xs, LEFT, WIDTH - RIGHT), scale(ys, HEIGHT - BOTTOM, TOP)
    lines = []
    for provider, curve in by.items():
        path = " ".join(f"{x(tokens):.1f},{y(value):.1f}" for tokens, value in curve)
        lines.append(f'<polyline fill="none" stroke="{colors[provider]}" stroke-width="2" points="{path}"/>')
        lines += [
            f'<circle cx="{x(tokens):.1f}" cy="{y(value):.1f}" r="4" fill="{colors[provider]}">'
            f"<title>{escape(provider)}, {tokens} tokens: {value:.3g} {unit}</title></circle>"
            for tokens, value in curve
        ]
    body = "".join([*axes(xs, ys, x, y, "tokens", unit), *lines])
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{unit} against tokens">{body}</svg>'
