"""Loading a published model: recognised, checked name by name, and brought to a backend tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WeightsError
from ..module import rebuild, state_dict
from ..nn.init import ShapeInit
from ..ops import Ops
from ..serialization.arriving import Arriving, Weight
from ..serialization.dtypes import is_float
from ..serialization.names import show
from ..serialization.on_demand import OnDemand
from ..serialization.state import check_state
from ..vae.image import AutoencoderKL, FrameVAE
from .architectures import Architecture, recognise
from .checkpoint import Checkpoint, open_checkpoint

NULL_CAPTION = "y_embedder.y_embedding"


@dataclass(frozen=True)
class Published:
    """A published model on a backend; an autoencoder of images as `FrameVAE`, which takes videos."""

    architecture: Architecture
    config: Any
    model: Any
    source: str


def load_published(path: str | Path, ops: Ops, dtype: str | None = None) -> Published:
    """Load the weights of one published model, whatever its release, from a file or a folder.

    The files stay mapped and each tensor is cast on its way to the backend, so that there is never a second copy of the
    model. dtype: of the weights, by default the backend's.
    Raises InvalidInputError where nothing or a pickle is found, FileFormatError for damaged files, WeightsError for
    weights that are of no known model, or that lack, exceed or mismatch what their model needs, NonFiniteError for NaN
    and for numbers that `dtype` cannot hold.
    """
    checkpoint = open_checkpoint(path)
    architecture = recognise(checkpoint.shapes, checkpoint.source)
    config, shell, weights = fit_published(architecture, checkpoint)
    model = of_videos(config, rebuild(shell, Arriving(ops, weights, dtype)))
    return Published(architecture, config, model, checkpoint.source)


def fit_published(architecture: Architecture, checkpoint: Checkpoint) -> tuple[Any, Any, Mapping[str, Weight]]:
    """The configuration, a weightless model of it and the weights that fit it, nothing of them read yet."""
    config = architecture.configure(checkpoint.shapes, checkpoint.config, checkpoint.source)
    shell = architecture.create(config, ShapeInit())
    weights = Adapted(checkpoint.tensors, architecture, config)
    read_as = f"{checkpoint.source} was recognised as {architecture.name} of {architecture.release}"
    _check_fit(read_as, shell, weights)
    return config, shell, weights


def _check_fit(read_as: str, shell: Any, weights: Adapted) -> None:
    expected = {name: tuple(array.shape) for name, array in state_dict(shell).items()}
    try:
        check_state(expected, weights.shapes)
    except WeightsError as error:
        raise WeightsError(f"{read_as}, but {error}") from None
    if odd := [name for name in weights if not is_float(weights[name].dtype)]:
        raise WeightsError(
            f"{read_as}, but the weight {show(odd[0])} is of {weights[odd[0]].dtype}, expected floating numbers; "
            "quantised models are not known here"
        )


def of_videos(config: Any, model: Any) -> Any:
    """The model; one of images as one of videos."""
    return FrameVAE(model, config) if isinstance(model, AutoencoderKL) else model


class Adapted(OnDemand[Weight]):
    """Published weights as the model here names and shapes them; each is made when asked for."""

    def __init__(self, tensors: Mapping[str, Weight], architecture: Architecture, config: Any) -> None:
        kept = {name: array for name, array in tensors.items() if name not in architecture.buffers}
        super().__init__(architecture.rename(kept))
        self._changes: dict[str, Callable[[Weight], Weight]] = {}
        length = getattr(config, "model_max_length", None)
        if NULL_CAPTION in self and length is not None:
            self._changes[NULL_CAPTION] = lambda rows: null_caption(rows, length)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight."""
        return {name: tuple(self[name].shape) for name in self}

    def __getitem__(self, name: str) -> Weight:
        array = self._source[name]
        return self._changes[name](array) if name in self._changes else array


def null_caption(rows: Weight, length: int) -> Weight:
    """The null caption [L, C] cut to `length` tokens, or its last token repeated, as the official loader does."""
    if len(rows) >= length:
        return rows[:length]
    return np.concatenate([rows, np.repeat(rows[-1:], length - len(rows), axis=0)])
