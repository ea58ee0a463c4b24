"""Published weights written anew: whole, checked, in one precision, the same bytes whenever it is done."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..checks import one_of
from ..serialization.casting import Cast
from ..serialization.checked import Checked
from ..serialization.folder import save_folder
from .architectures import Architecture, recognise
from .loading import fit_published
from .pickled import opened
from .tokenizer_files import tokenizer_files

STEMS: dict[str, str] = {"opensora": "model", "diffusers": "diffusion_pytorch_model"}


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    dtype: str | None = None,
    layout: str = "opensora",
    max_shard_bytes: int = 5 * 10**9,
    overwrite: bool = True,
) -> Architecture:
    """Write a published model into a folder: config.json, safetensors (in shards above the limit) and a manifest.

    source: a safetensors file, a folder, or old pickles, one or shards in a folder, each of which is read in a limited
    process of its own. A text encoder's tokenizer is copied with it. dtype: of the weights, by default theirs. layout:
    what the weight files are called, "opensora" (model.safetensors) or "diffusers"
    (diffusion_pytorch_model.safetensors). Tensors pass through one at a time.
    Raises what `load_published` raises, NonFiniteError for weights that `dtype` cannot hold, and writes nothing then.
    """
    stem = stem_of(layout)
    with opened(source) as checkpoint:
        architecture = recognise(checkpoint.shapes, checkpoint.source)
        config, _, fitting = fit_published(architecture, checkpoint)
        weights = Checked(fitting, dtype)
        save_folder(
            destination,
            header(architecture, config),
            weights if dtype is None else Cast(weights, dtype),
            max_shard_bytes=max_shard_bytes,
            overwrite=overwrite,
            stem=stem,
            beside=tokenizer_files(source) if architecture.part == "text encoder" else (),
        )
    return architecture


def stem_of(layout: str) -> str:
    """What the weight files of a layout are called; InvalidInputError for one that is not known."""
    return STEMS[one_of("layout", layout, tuple(STEMS))]


def header(architecture: Architecture, config: Any) -> dict[str, Any]:
    """The configuration as published ones are: flat, with the name of the architecture."""
    return {"_class_name": architecture.name, "_open_sora_release": architecture.release, **asdict(config)}
