"""convert: published weights into a folder of safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from .options import Argument, Option
from .screen import Screen


def convert(
    screen: Screen,
    source: Annotated[Path, Argument(help="Published weights: .safetensors, a folder, or an old pickle (.pth).")],
    destination: Annotated[Path, Argument(metavar="FOLDER", help="What is written, whole or not at all.")],
    dtype: Annotated[str | None, Option(help="Of the floating weights, such as bfloat16; by default theirs.")] = None,
    layout: Annotated[str, Option(help="Names of the weight files: opensora or diffusers.")] = "opensora",
    max_shard_gb: Annotated[float, Option(min=0.001, help="Weights beyond it go into several files.")] = 5.0,
    no_overwrite: Annotated[bool, Option("--no-overwrite", help="Refuse a folder that is there.")] = False,
) -> None:
    """Write a published Open-Sora model (v1.0 to v2.0) as a folder: checked, in one precision, always the same bytes.

    Example: opensora convert OpenSora-v1-HQ-16x256x256.pth open-sora-v1.0 --dtype bfloat16
    """
    from ..releases.converting import convert as run

    architecture = run(
        source,
        destination,
        dtype=dtype,
        layout=layout,  # type: ignore[arg-type]
        max_shard_bytes=int(max_shard_gb * 1e9),
        overwrite=not no_overwrite,
    )
    size = sum(file.stat().st_size for file in destination.iterdir())
    document = {
        "source": str(source),
        "destination": str(destination),
        "architecture": architecture.name,
        "release": architecture.release,
        "part": architecture.part,
        "bytes": size,
    }
    what = f"{architecture.name} of {architecture.release} ({architecture.part})"
    screen.result(document, f"{destination}: {what}, {size:,} bytes")
