"""convert: published weights into a folder of safetensors."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from .options import Argument, Option
from .screen import Screen


def convert(
    screen: Screen,
    source: Annotated[str, Argument(help="Published weights: .safetensors, a folder, old pickles, or a hub's name.")],
    destination: Annotated[Path, Argument(metavar="FOLDER", help="What is written, whole or not at all.")],
    dtype: Annotated[str | None, Option(help="Of the floating weights, such as bfloat16; by default theirs.")] = None,
    layout: Annotated[str, Option(help="Names of the weight files: opensora or diffusers.")] = "opensora",
    max_shard_gb: Annotated[float, Option(min=0.001, help="Weights beyond it go into several files.")] = 5.0,
    start: Annotated[
        str | None, Option(help="Begin a denoiser of v1.0, v1.1 or v1.2, to be trained, from the weights of PixArt.")
    ] = None,
    overwrite: Annotated[
        bool, Option(help="Whether a folder that an earlier conversion wrote is replaced (whole) or refused.")
    ] = True,
) -> None:
    """Write a published Open-Sora model (v1.0 to v2.0) as a folder: checked, in one precision, always the same bytes.

    Example: opensora convert OpenSora-v1-HQ-16x256x256.pth open-sora-v1.0 --dtype bfloat16
    """
    from ..releases.converting import convert as run
    from ..releases.converting import stem_of
    from ..releases.hub import local
    from ..releases.pixart import convert_pixart

    found = local(source, pickles=True)
    saving: dict[str, Any] = {"max_shard_bytes": int(max_shard_gb * 1e9), "overwrite": overwrite}
    begun: dict[str, Any] = {}
    if start is None:
        architecture = run(found, destination, dtype=dtype, layout=layout, **saving)
    else:
        made = convert_pixart(found, destination, start, dtype, stem=stem_of(layout), **saving)
        architecture, begun = made.architecture, {"new": list(made.new), "dropped": list(made.dropped)}
    size = sum(file.stat().st_size for file in destination.iterdir())
    document = {
        "source": source,
        "destination": str(destination),
        "architecture": architecture.name,
        "release": architecture.release,
        "part": architecture.part,
        "bytes": size,
        **begun,
    }
    what = f"{architecture.name} of {architecture.release} ({architecture.part})"
    screen.result(document, f"{destination}: {what}, {size:,} bytes", *_begun(begun))


def _begun(begun: dict[str, list[str]]) -> list[str]:
    """What of a denoiser that begins from PixArt is new, and what is left out, a line for each part of it."""
    lines = []
    for title, names in begun.items():
        parts = Counter(re.sub(r"\.\d+\.", ".*.", name).rpartition(".")[0] or name for name in names)
        lines += ["", f"{title}, {len(names)} weights:", *(f"  {part} ({n})" for part, n in parts.items())]
    return lines
