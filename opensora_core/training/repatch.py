"""Smaller patches for a trained denoiser: what it learned on coarse tokens is where training on fine ones begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dit.config import STDiT3Config
from ..errors import InvalidInputError

Array = NDArray[Any]
EMBEDDING = "x_embedder.proj.weight"  # [C, in, pt, ph, pw]
OUTPUT = ("final_layer.linear.weight", "final_layer.linear.bias")  # [pt·ph·pw·out, C] and [pt·ph·pw·out]


def repatched(weights: Mapping[str, Array], old: STDiT3Config, new: STDiT3Config) -> dict[str, Array]:
    """Weights for `new.patch_size`, made of those for `old.patch_size`, a multiple of it along every axis.

    Where an old patch holds the same cells several times over, the new embedding of one of them is the old embedding of
    all (the sum over their places), and the new output is the old one's average. All else stays as it is.
    Raises InvalidInputError when a new patch does not divide the old one.
    """
    if any(p % q for p, q in zip(old.patch_size, new.patch_size, strict=True)):
        raise InvalidInputError(
            f"a denoiser of patches {old.patch_size} cannot begin one of patches {new.patch_size}: the new patch must "
            "divide the old one along time, height and width"
        )
    made = dict(weights)
    made[EMBEDDING] = _merge(weights[EMBEDDING], 2, old, new, np.sum)
    for name in OUTPUT:
        flat = weights[name]
        merged = _merge(flat.reshape(*old.patch_size, -1, *flat.shape[1:]), 0, old, new, np.mean)
        made[name] = merged.reshape(-1, *flat.shape[1:])
    return made


def _merge(x: Array, first: int, old: STDiT3Config, new: STDiT3Config, how: Callable[..., Array]) -> Array:
    """Reduce three axes, from `first` on, over the places of an old patch that fall on one place of a new one."""
    for axis, (p, q) in enumerate(zip(old.patch_size, new.patch_size, strict=True), start=first):
        x = how(x.reshape(*x.shape[:axis], p // q, q, *x.shape[axis + 1 :]), axis=axis, dtype=x.dtype)
    return x
