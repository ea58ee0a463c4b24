"""How time and memory grow with the number of tokens: curves found in results, and drawn as SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from .plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, axes, color_of, powers, scale
from .results import Document

Curve = list[tuple[int, float]]
Curves = dict[str, dict[str, Curve]]
LONG = 1024  # tokens, from which growth counts: below, what any call costs is most of it
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


def slope(curve: Curve) -> float | None:
    """The power of the tokens that a curve grows with, from LONG tokens on; None for fewer than two such points."""
    points = [point for point in curve if point[0] >= LONG]
    if len(points) < 2:
        return None
    tokens, values = np.log(points).T
    return float(np.polyfit(tokens, values, 1)[0])


def with_slope(provider: str, curve: Curve) -> str:
    """The provider's name, and the power with which its curve grows."""
    power = slope(curve)
    return provider if power is None else f"{provider}: tokens^{power:.2f}"


def scaling_plots(document: Document) -> str:
    """Plots of everything that was run at several numbers of tokens, with headings; "" if nothing was."""
    return "".join(
        f"<h2>{escape(name)}: {title} against tokens</h2>{_slopes(by)}{_plot(by, unit, color_of(document))}"
        for measure, (title, unit) in MEASURES.items()
        for name, by in scaling(document, measure).items()
    )


def _slopes(by: Mapping[str, Curve]) -> str:
    known = [escape(with_slope(provider, curve)) for provider, curve in by.items() if slope(curve) is not None]
    return f'<p class="about">growth from {LONG} tokens on: {", ".join(known)}</p>' if known else ""


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
