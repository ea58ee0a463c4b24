"""Text models from published folders and files, recognised by their weights as all published models are."""

from __future__ import annotations

from pathlib import Path

from ..errors import WeightsError
from ..ops import Ops
from ..text.clip import CLIPText
from ..text.t5 import T5Encoder
from ..text.t5_config import T5Config
from ..text.t5_streamed import StreamedT5
from .architectures import recognise
from .checkpoint import open_checkpoint
from .loading import fit_published, load_published


def load_t5(ops: Ops, path: str | Path) -> T5Encoder:
    """The encoder with all weights on the backend, in its dtype. XXL has 4.8 billion: 9.5 GB in bfloat16.

    path: a safetensors file, or a folder with one or with shards, and maybe `config.json`.
    Raises InvalidInputError if nothing or a pickle is found, FileFormatError for damaged files, WeightsError for
    weights of another model, and for those that lack, exceed or mismatch what the encoder needs.
    """
    model = load_published(path, ops).model
    if not isinstance(model, T5Encoder):
        raise WeightsError(f"{path} holds the weights of {type(model).__name__}; expected those of T5 v1.1")
    return model


def open_t5(path: str | Path) -> StreamedT5:
    """The encoder with its weights left in the files, of which it reads one block at a time; errors as `load_t5`."""
    checkpoint = open_checkpoint(path)
    architecture = recognise(checkpoint.shapes, checkpoint.source)
    config, _, weights = fit_published(architecture, checkpoint)
    if not isinstance(config, T5Config):
        raise WeightsError(f"{path} holds the weights of {architecture.name}; expected those of T5 v1.1")
    return StreamedT5(config, weights)


def load_clip(ops: Ops, path: str | Path) -> CLIPText:
    """The text model of a folder or file that may hold the image model too; errors as `load_t5`."""
    model = load_published(path, ops).model
    if not isinstance(model, CLIPText):
        raise WeightsError(f"{path} holds the weights of {type(model).__name__}; expected those of CLIP's text model")
    return model
