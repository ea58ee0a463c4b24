"""Plots of results as SVG: the roofline with every row on it, and the samples of a row as a strip; and their axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .results import Document

COLORS = ("#3b6fb6", "#d1662b", "#2f8f5b", "#b23a7f", "#7a5bc0", "#8a6d1f", "#25909c", "#6b7280", "#c0392b", "#4d7c0f")
WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 860, 380, 64, 24, 44, 12
STRIP = (240, 18)  # width and height
Row = Mapping[str, Any]


def color_of(document: Document) -> dict[str, str]:
    """A colour for each provider, in the order in which they were run."""
    names = list(dict.fromkeys(row["provider"] for row in document["results"]))
    return {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}


def roofline_plot(document: Document) -> str:
    """TFLOP/s against FLOPs a byte, both logarithmic, below the rates that were measured; "" if nothing was timed."""
    rows = [row for row in document["results"] if row["status"] == "ok" and row["flops"]]
    if not rows:
        return ""
    line, colors = document["roofline"], color_of(document)
    peak, ridge = line["flops"] / 1e12, line["flops"] / line["bytes"]
    xs = powers([*(row["intensity"] for row in rows), ridge])
    ys = powers([*(row["tflops"] for row in rows), peak])
    x, y = scale(xs, LEFT, WIDTH - RIGHT), scale(ys, HEIGHT - BOTTOM, TOP)
    slope = [(10.0 ** xs[0], peak * 10.0 ** xs[0] / ridge), (ridge, peak), (10.0 ** xs[1], peak)]
    points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in slope)
    dots = [
        f'<circle cx="{x(row["intensity"]):.1f}" cy="{y(row["tflops"]):.1f}" r="4" fill="{colors[row["provider"]]}">'
        f"<title>{escape(row['case'])} by {escape(row['provider'])}: {row['tflops']:.3g} TFLOP/s, "
        f"{row['roofline_share']:.0%} of the roofline</title></circle>"
        for row in rows
    ]
    body = [*axes(xs, ys, x, y, "FLOPs a byte", "TFLOP/s"), f'<polyline class="roof" points="{points}"/>', *dots]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Roofline">'
        f'<clipPath id="area"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - BOTTOM - TOP}"/></clipPath>{"".join(body)}</svg>'
    )


def strip(samples: Sequence[float], low: float, high: float, color: str) -> str:
    """Every sample as a tick between two times, which are those of the case, logarithmic; the median is taller."""
    width, height = STRIP
    span = math.log(high / low) or 1.0

    def place(seconds: float) -> float:
        return 2 + (width - 4) * math.log(seconds / low) / span

    ticks = "".join(f"M{place(s):.1f} 5v{height - 10}" for s in samples)
    middle = place(sorted(samples)[len(samples) // 2])
    return (
        f'<svg class="strip" width="{width}" height="{height}"><path d="{ticks}" stroke="{color}" opacity=".7"/>'
        f'<path d="M{middle:.1f} 0v{height}" stroke="{color}" stroke-width="2"/></svg>'
    )


def powers(values: Sequence[float]) -> tuple[int, int]:
    """Powers of ten that hold the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values) * 1.05))
    return low, max(high, low + 1)


def scale(ends: tuple[int, int], start: float, end: float) -> Any:
    """A function from values to places between start and end, logarithmic between two powers of ten."""
    low, high = ends
    return lambda value: start + (end - start) * (math.log10(value) - low) / (high - low)


def axes(xs: tuple[int, int], ys: tuple[int, int], x: Any, y: Any, along: str, up: str) -> list[str]:
    """Lines at powers of ten with their numbers, and what the axes are."""
    parts = []
    for power in range(xs[0], xs[1] + 1):
        at = x(10.0**power)
        parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{10.0**power:g}</text>')
    for power in range(ys[0], ys[1] + 1):
        at = y(10.0**power)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{along}</text>')
    parts.append(f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{up}</text>')
    return parts
