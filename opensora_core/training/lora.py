"""Adapters of a recipe, and files of them under the names of diffusers and peft."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..checks import number, patterns, whole
from ..errors import FileFormatError
from ..nn.init import RandomInit
from ..nn.lora import LowRank, attach, fresh_adapters, linear_maps
from ..ops import Ops
from ..serialization.reader import open_safetensors
from ..serialization.writer import write_safetensors
from .parts import matching

M = TypeVar("M")
PREFIXES = ("base_model.model.", "transformer.", "denoiser.")  # of peft, of diffusers, and of a whole model here
A, B, ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"
ADAPTERS = ("*" + A, "*" + B)  # patterns of what learns


@dataclass(frozen=True)
class LoraConfig:
    """Which linear maps get adapters, and how thin: `alpha / rank` weighs what an adapter adds."""

    rank: int = 8
    alpha: float = 8.0
    layers: tuple[str, ...] = ("*_blocks.*",)  # names or patterns of linear maps

    def __post_init__(self) -> None:
        whole("rank", self.rank, 1)
        number("alpha", self.alpha, 0, above=True)
        patterns("layers", self.layers)


def with_adapters(denoiser: M, config: LoraConfig, init: RandomInit) -> M:
    """The denoiser with new adapters, which change nothing yet; InvalidInputError for a pattern without a match."""
    layers = matching("layers", config.layers, list(linear_maps(denoiser)))
    return attach(denoiser, fresh_adapters(denoiser, layers, config.rank, config.alpha, init))


def save_lora(path: str | os.PathLike[str], ops: Ops, adapters: Mapping[str, LowRank]) -> None:
    """Write adapters to a safetensors file, whole or not at all: `transformer.NAME.lora_A.weight`, `.lora_B.weight`."""
    tensors = {}
    for name, adapter in adapters.items():
        tensors[PREFIXES[1] + name + A] = ops.to_numpy(adapter.A)
        tensors[PREFIXES[1] + name + B] = ops.to_numpy(adapter.B)
        tensors[PREFIXES[1] + name + ALPHA] = np.asarray(adapter.alpha, np.float32)
    write_safetensors(path, tensors, {"format": "pt"})


def read_lora(path: str | os.PathLike[str], ops: Ops) -> dict[str, LowRank]:
    """Read adapters that `save_lora` or others wrote; without an `.alpha` it is the rank, as diffusers has it.

    Raises InvalidInputError if there is no such file, FileFormatError for one that is damaged or holds anything else.
    """
    tensors = {_without_prefix(name): array for name, array in open_safetensors(path).items()}
    names = [name.removesuffix(A) for name in tensors if name.endswith(A)]
    if not names or (odd := sorted(tensors.keys() - {name + end for name in names for end in (A, B, ALPHA)})):
        found = odd[0] if names else "none"
        raise FileFormatError(f"{os.fspath(path)} holds no LoRA: expected names ending in {A} and {B}, found {found}")
    if lonely := [name for name in names if name + B not in tensors]:
        raise FileFormatError(f"{os.fspath(path)}: {lonely[0]}{A} has no {B} beside it")
    adapters = {}
    for name in names:
        a, b = tensors[name + A], tensors[name + B]
        if a.ndim != 2 or b.ndim != 2:
            raise FileFormatError(f"{os.fspath(path)}: {name} is not the adapter of a linear map: A {list(a.shape)}")
        alpha = float(tensors[name + ALPHA].reshape(())) if name + ALPHA in tensors else float(a.shape[0])
        adapters[name] = LowRank(ops.asarray(np.array(a)), ops.asarray(np.array(b)), alpha)
    return adapters


def _without_prefix(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name
