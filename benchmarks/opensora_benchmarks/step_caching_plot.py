"""Draws error against speed of what `step_caching` measured.

python -m opensora_benchmarks.step_caching_plot benchmarks/results/step_caching.json docs/images/step-caching.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .step_caching import ALL

CURVES = {"step_cache=": ("step caching, every n-th step", "tab:blue"), "": ("fewer steps, n in all", "tab:orange")}


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Write PSNR and relative L2 against the speed-up, a curve for step caching and one for fewer steps."""
    from matplotlib.figure import Figure

    from opensora_core.serialization.atomic import atomic_file

    backend = list(found["speed"])[-1]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [name for name in found["errors"] if name != ALL]
    for axes, quantity in ((left, "psnr"), (right, "latents_rel_l2")):
        for start, (label, color) in CURVES.items():
            own = [name for name in names if name.startswith("step_cache=") == bool(start)]
            _curve(axes, found, backend, own, quantity, label, color)
        axes.set_xlabel(f"times faster than all steps ({backend}, threads: {found['threads']})")
        axes.grid(color="0.9")
        axes.legend(fontsize="small", loc="upper right" if axes is left else "lower right")
    left.set(ylabel="PSNR of the video, dB", title="median of the prompts; bars reach to the worst one")
    right.set(ylabel="relative L2 of the latents", yscale="log", title="both against all steps computed")
    for axes in (left, right):
        axes.title.set_fontsize("small")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix.lower().lstrip("."))


def _curve(
    axes: Any, found: Mapping[str, Any], backend: str, names: Sequence[str], quantity: str, label: str, color: str
) -> None:
    rows = [found["errors"][name][quantity] for name in names]
    x = [found["speed"][backend]["faster"][name]["median"] for name in names]
    y, worst = ([row[which] for row in rows] for which in ("median", "worst"))
    axes.plot(x, y, "o-", color=color, label=label)
    axes.vlines(x, y, worst, color=color, alpha=0.4)
    for name, at, height in zip(names, x, y, strict=True):
        n = name.removeprefix("step_cache=").removesuffix(" steps")
        axes.annotate(n, (at, height), xytext=(5, 5), textcoords="offset points", fontsize="small", color=color)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the results, write the picture."""
    parser = argparse.ArgumentParser(description="Draw error against speed of step caching.")
    parser.add_argument("results", type=Path, help="file that opensora_benchmarks.step_caching wrote")
    parser.add_argument("picture", type=Path, help="file to write, .png or .svg")
    options = parser.parse_args(arguments)
    draw(json.loads(options.results.read_text()), options.picture)


if __name__ == "__main__":
    main()
