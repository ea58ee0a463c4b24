"""Which model, and on what to compute: the options of it that verbs share, each declared once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from .options import Option
from .screen import Screen

if TYPE_CHECKING:
    from ..ops import Ops
    from ..pipelines.opensora import OpenSora
    from ..pipelines.video_model import VideoModel

M = TypeVar("M", bound="VideoModel")


def find_backend(name: str, device: str | None = None, dtype: str | None = None) -> Ops:
    """Return a backend by name, or "module:Class" of a module that is installed or lies in the current folder."""
    from ..registry import get_backend

    return get_backend(findable(name), device=device, dtype=dtype)


def findable(name: str) -> str:
    """The name that "auto" stands for, or the one given, whose module may now lie in the current folder."""
    from ..registry import automatic

    name = automatic() if name == "auto" else name
    search_current_folder(name)
    return name


def search_current_folder(backend: str) -> None:
    """Let the module of a "module:Class" be found in the current folder, after everything that is installed.

    Other names leave the search alone: a folder here that is called torch is not PyTorch.
    """
    if ":" in backend and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


@dataclass(frozen=True)
class BackendOptions:
    """On what to compute."""

    backend: Annotated[
        str,
        Option(
            envvar="OPENSORA_BACKEND",
            help="numpy, torch, another installed one, 'module:Class', or auto: the best one present.",
            rich_help_panel="Model",
        ),
    ] = "auto"
    device: Annotated[
        str | None,
        Option(envvar="OPENSORA_DEVICE", help="Such as cpu (the default), cuda:0, mps.", rich_help_panel="Model"),
    ] = None

    def ops(self, screen: Screen, dtype: str | None = None) -> Ops:
        """Return the backend; says what `auto` picked."""
        ops = find_backend(self.backend, self.device, dtype)
        self.tell(screen, ops)
        return ops

    def tell(self, screen: Screen, ops: Ops) -> None:
        """Say which backend and dtype `auto` picked."""
        if self.backend == "auto":
            screen.say(f"backend: {ops.name} on {ops.device} in {ops.dtype}, picked by --backend auto")
        if ops.dtype_reason:
            screen.note(f"dtype: {ops.dtype}, picked by --dtype auto: {ops.dtype_reason}")


Dtype = Annotated[
    str | None,
    Option(
        envvar="OPENSORA_DTYPE",
        help="float32 (the default), float64, bfloat16, float16, or auto: bfloat16 where this CPU is faster in it.",
        rich_help_panel="Model",
    ),
]
"""In which precision to compute."""

Offload = Annotated[
    str,
    Option(
        help="block_level: published denoisers larger than memory, block by block from their file; or none.",
        rich_help_panel="Model",
    ),
]
"""Which weights of a published denoiser are in memory."""


@dataclass(frozen=True)
class ComputeOptions(BackendOptions):
    """On what to compute, and in which precision."""

    dtype: Dtype = None

    def model_of(self, screen: Screen, load: Callable[..., M]) -> M:
        """Load a model by a function that takes backend=, device= and dtype=; says what `auto` picked for it."""
        if self.dtype != "auto":
            return load(backend=self.ops(screen, self.dtype))
        model = load(backend=findable(self.backend), device=self.device, dtype="auto")  # which depends on its widths
        self.tell(screen, model.ops)
        return model


@dataclass(frozen=True)
class ModelOptions(ComputeOptions):
    """Which model, and on what to compute."""

    model: Annotated[
        Path | None,
        Option("--model", "-m", help="Folder of a model; without it, the embedded one.", rich_help_panel="Model"),
    ] = None

    def load(self, screen: Screen) -> OpenSora:
        """Load the model."""
        from ..pipelines.opensora import OpenSora

        return self.model_of(screen, partial(OpenSora.from_pretrained, self.model))


@dataclass(frozen=True)
class AnyModelOptions(ComputeOptions):
    """Which model, ours or a published one, and on what to compute."""

    model: Annotated[
        Path | None,
        Option(
            "--model",
            "-m",
            help="Model folder, or published weights; by default the embedded model.",
            rich_help_panel="Model",
        ),
    ] = None
    parts: Annotated[
        list[Path] | None,
        Option("--with", help="Autoencoder or text encoder of published weights (repeat).", rich_help_panel="Model"),
    ] = None
    offload_type: Offload = "none"

    def load(self, screen: Screen) -> VideoModel:
        """Load the model."""
        from ..pipelines.opensora import OpenSora

        parts, offload = self.parts or [], self.offload_type
        return self.model_of(screen, partial(OpenSora.from_pretrained, self.model, *parts, offload_type=offload))
