"""A text encoder in a file of its own: its state dict, with its config and vocabulary as metadata."""

from __future__ import annotations

import os

from ..errors import FileFormatError
from ..module import state_dict
from ..nn.init import ShapeInit
from ..serialization.single import load_single, save_single
from ..serialization.state import fill
from ..text.encoder import TextEncoder, TextEncoderConfig
from ..text.tokenizer import WordTokenizer


def save_text_encoder(encoder: TextEncoder, tokenizer: WordTokenizer, path: str | os.PathLike[str]) -> None:
    """Write the state dict (NumPy arrays), whole or not at all."""
    about = {"text": encoder.config.to_dict(), "tokenizer": tokenizer.to_dict()}
    save_single(path, about, state_dict(encoder))


def load_text_encoder(path: str | os.PathLike[str]) -> tuple[TextEncoder, WordTokenizer]:
    """Read what `save_text_encoder` wrote; weights are NumPy arrays, mapped from the file.

    Raises FileFormatError when the file is damaged or holds no text encoder, WeightsError when its weights do not fit
    its config.
    """
    about, weights = load_single(path)
    if set(about) != {"text", "tokenizer"}:
        raise FileFormatError(f"{os.fspath(path)} holds no text encoder; expected a file of `save_text_encoder`")
    template = TextEncoder.create(TextEncoderConfig.from_dict(about["text"]), ShapeInit())
    return fill(template, weights), WordTokenizer.from_dict(about["tokenizer"])
