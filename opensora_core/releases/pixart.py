"""Denoisers of v1 that begin from an image model: PixArt-alpha (v1.0, v1.1) and PixArt-Sigma (v1.2), as officially.

What PixArt knows is taken over; what it lacks, all that concerns time, is new. Attention along time begins as the zero
function; v1.1's embeddings of frame rate and length begin at random, and nothing but that attention reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import one_of
from ..errors import WeightsError
from ..module import state_dict
from ..nn.init import RandomInit
from ..serialization.arriving import Weight
from ..serialization.casting import Cast
from ..serialization.folder import save_folder
from ..serialization.state import check_state
from ..text.published_tokenizers import T5_LENGTHS
from .architectures import ARCHITECTURES, PIXART, Architecture
from .converting import header
from .denoiser_shapes import XL_HEAD_DIM
from .loading import NULL_CAPTION, null_caption
from .pickled import opened
from .shapes import Shapes, count

STARTS = ("v1.0", "v1.1", "v1.2")
PATCHES = "x_embedder.proj.weight"
POSITIONS = "pos_embed"  # computed by the models here, for any size
TEMPORAL = "blocks.0.attn_temp.qkv.weight"
RELEASED: dict[str, dict[str, Any]] = {"v1.1": {"qk_norm": True, "input_sq_size": 512}, "v1.2": {"qk_norm": True}}


@dataclass(frozen=True)
class Start:
    """A denoiser to be trained: its weights, and the names of those that are new, and of PixArt's that are left out."""

    architecture: Architecture
    config: Any
    weights: Mapping[str, Weight]
    new: tuple[str, ...]
    dropped: tuple[str, ...]


def is_pixart(shapes: Shapes) -> bool:
    """Whether weights of these names and shapes are an image model's of PixArt."""
    return PIXART in shapes and TEMPORAL not in shapes and len(shapes.get(PATCHES, ())) == 4


def start_from_pixart(tensors: Mapping[str, Weight], release: str, source: str, seed: int = 0) -> Start:
    """The denoiser of a release ("v1.0" to "v1.2") with the weights of PixArt, new ones drawn by the seed.

    The patch embedding gets an axis of time, positions are left out, blocks are the spatial ones (v1.2), and the null
    caption is cut to what the release reads, or its last token repeated.
    Raises WeightsError for weights that are not PixArt's, and for shapes that do not fit.
    """
    one_of("start", release, STARTS)
    shapes = {name: tuple(array.shape) for name, array in tensors.items()}
    if not is_pixart(shapes):
        raise WeightsError(f"{source} is no PixArt: it lacks {PIXART}, or is a video model already")
    architecture = next(a for a in ARCHITECTURES if (a.part, a.release) == ("denoiser", release))
    config = architecture.config(**_sizes(shapes), model_max_length=T5_LENGTHS[release], **RELEASED.get(release, {}))
    own = {name: np.asarray(array) for name, array in state_dict(architecture.create(config, RandomInit(seed))).items()}
    taken = {_name(name, release): _fitted(name, array, config) for name, array in tensors.items()}
    taken.pop(POSITIONS, None)
    sizes, found = ({name: array.shape for name, array in weights.items()} for weights in (own, taken))
    difference = check_state(sizes, found, strict=False)
    weights = {name: taken.get(name, array) for name, array in own.items()}
    return Start(architecture, config, weights, difference.missing, (POSITIONS, *difference.unexpected))


def convert_pixart(source: Path, destination: Path, release: str, dtype: str | None = None, **saving: Any) -> Start:
    """Write `start_from_pixart` of a file or a pickle as a folder, see `convert`; saving: options of `save_folder`."""
    with opened(source) as checkpoint:
        start = start_from_pixart(checkpoint.tensors, release, checkpoint.source)
        weights = start.weights if dtype is None else Cast(start.weights, dtype)
        save_folder(destination, header(start.architecture, start.config), weights, **saving)
    return start


def _sizes(shapes: Shapes) -> dict[str, Any]:
    hidden, in_channels, *patch = shapes[PATCHES]
    return {
        "in_channels": in_channels,
        "patch_size": (1, *patch),
        "hidden_size": hidden,
        "depth": count(shapes, "blocks"),
        "num_heads": max(1, hidden // XL_HEAD_DIM),
        "mlp_ratio": shapes["blocks.0.mlp.fc1.weight"][0] / hidden,
        "caption_channels": shapes[NULL_CAPTION][1],
    }


def _name(name: str, release: str) -> str:
    return f"spatial_{name}" if release == "v1.2" and name.startswith("blocks.") else name


def _fitted(name: str, array: Weight, config: Any) -> Weight:
    if name == PATCHES:
        return array[:, :, None]
    return null_caption(array, config.model_max_length) if name == NULL_CAPTION else array
