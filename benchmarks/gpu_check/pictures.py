"""timings.png of the times that were taken, where matplotlib is here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path


def draw(out: Path) -> str:
    """Draw, and say what was drawn or why not."""
    path = out / "timings.json"
    if importlib.util.find_spec("matplotlib") is None or not path.exists():
        return "no picture: matplotlib or the timings are missing"
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in json.loads(path.read_text()).get("rows", []) if "us" in row]
    ops = list(dict.fromkeys(row["op"] for row in rows))
    if not ops:
        return "no picture: nothing was timed"
    figure, axes = pyplot.subplots(len(ops), 1, figsize=(8, 1.6 * len(ops)), layout="constrained", squeeze=False)
    for axis, op in zip(axes[:, 0], ops, strict=True):
        chosen = [row for row in rows if row["op"] == op]
        axis.barh([row["provider"] for row in chosen], [row["us"] for row in chosen])
        axis.invert_yaxis()
        axis.set_title(f"{op}, microseconds", fontsize=9)
        axis.tick_params(labelsize=7)
    figure.savefig(out / "timings.png", dpi=100)
    return f"drawn: {out / 'timings.png'}"
