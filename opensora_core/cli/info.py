"""info: what a model is, read from its configuration and the headers of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from .options import Argument
from .screen import Screen, columns


def info(
    screen: Screen,
    path: Annotated[
        Path | None, Argument(metavar="PATH", help="Of a model, or a hub's name; without it, the embedded one.")
    ] = None,
) -> None:
    """Show what a model is: parameters by part, precision, sizes, defaults. Loads no weights.

    Example: opensora info
    """
    from ..pipelines.storage import is_own
    from ..releases.hub import local

    path = None if path is None else local(path)
    if path is not None and not is_own(path):
        show_published(screen, path)
        return
    document = describe_model(path)
    config = document["config"]
    parts = [("part", "parameters", "bytes", "dtype")]
    parts += [(name, f"{p['parameters']:,}", f"{p['bytes']:,}", p["dtype"]) for name, p in document["parts"].items()]
    size = f"{config['num_frames']} frames of {config['width']}x{config['height']} at {config['fps']:g} fps"
    screen.result(
        document,
        f"{document['path']}",
        f"{config['architecture']}, format {document['format']} {document['version']}, "
        f"{document['parameters']:,} parameters, {document['bytes']:,} bytes",
        "",
        *columns(parts),
        "",
        f"makes {size}; longer ones in pieces, other sizes too",
        f"by default {config['num_inference_steps']} steps, guidance scale {config['guidance_scale']:g}",
        f"knows {len(config['vocabulary'])} words, reads {config['text']['max_length']} of a prompt",
        f"denoiser: width {config['hidden_dim']}, {config['num_layers']} pairs of blocks, {config['num_heads']} heads, "
        f"patches {'x'.join(map(str, config['patch_size']))}, predicts the {config['prediction']}",
        f"autoencoder: blocks of {'x'.join(map(str, config['codec']['block']))} to "
        f"{config['codec']['latent_channels']} channels",
    )


def show_published(screen: Screen, path: Path) -> None:
    """The published models in a file or folder."""
    from ..releases.discovery import find_parts

    parts = [part.describe() for part in find_parts(path)]
    rows = [("part", "architecture", "release", "parameters", "bytes", "dtype", "file or folder")]
    for p in parts:
        numbers = f"{p['parameters']:,}", f"{p['bytes']:,}"
        rows.append((p["part"], p["architecture"], p["release"], *numbers, p["dtype"], Path(p["path"]).name))
    screen.result({"path": str(path), "parts": parts}, str(path), "", *columns(rows))


def describe_model(path: Path | None) -> dict[str, Any]:
    """Everything about a model folder that takes no reading of weights."""
    from ..pipelines.storage import EMBEDDED, config_of
    from ..serialization.folder import load_folder
    from ..serialization.inventory import inventory

    folder = EMBEDDED if path is None else path
    header, tensors = load_folder(folder, verify=False)  # maps the weights, reads none
    config = config_of(header).to_dict()
    parts: dict[str, dict[str, Any]] = {}
    for part in sorted({name.partition(".")[0] for name in tensors}):
        own = [array for name, array in tensors.items() if name.startswith(f"{part}.")]
        parts[part] = inventory(own)
    return {
        "path": str(folder),
        "embedded": path is None,
        "format": header["format"],
        "version": header["version"],
        "parameters": sum(p["parameters"] for p in parts.values()),
        "bytes": sum(file.stat().st_size for file in Path(folder).iterdir() if file.is_file()),
        "parts": parts,
        "config": config,
    }
