"""What users hand in, checked: prompts, embeddings, latents, clips."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..media.video import Video
from ..ops import Ops
from .components import Components
from .config import OpenSoraConfig
from .generation import Prompt, encode_prompt

MAX_PROMPT = 10_000


class PromptWarning(UserWarning):
    """Part of a prompt does not reach the model."""


def read_prompt(
    ops: Ops,
    parts: Components,
    text: str,
    *,
    negative: str | None,
    embeds: Any,
    mask: Any,
    may_be_empty: bool,
) -> Prompt:
    """Text, or features [1, L, C] with a mask [1, L], as the sampler needs it; unknown words are warned about."""
    if embeds is not None:
        features = ops.asarray(_checked_embeds(embeds, parts.config), ops.dtype)
        flags = np.ones(features.shape[:2], bool) if mask is None else np.asarray(mask, bool).reshape(1, -1)
        encoded = features, ops.asarray(flags)
    else:
        check_prompt(text, may_be_empty=may_be_empty)
        if lost := parts.tokenizer.describe_loss(text):
            warnings.warn(lost, PromptWarning, stacklevel=2)
        encoded = encode_prompt(ops, parts, [text])
    return Prompt(*encoded, None if negative is None else encode_prompt(ops, parts, [negative]))


def check_prompt(text: str, *, may_be_empty: bool = False) -> None:
    """Refuse what is no prompt."""
    if not isinstance(text, str) or len(text) > MAX_PROMPT:
        raise InvalidInputError(f"the prompt {str(text)[:40]!r}... must be text of at most {MAX_PROMPT} characters")
    if not text.strip() and not may_be_empty:
        raise InvalidInputError("the prompt is empty; say what the video should show")


def check_latents(shape: Sequence[int], config: OpenSoraConfig) -> None:
    """Refuse latents that are not of this model."""
    channels = config.codec.latent_channels
    if len(shape) != 5 or shape[1] != channels:
        raise InvalidInputError(f"latents of shape {tuple(shape)} must be [B, {channels}, T, h, w]")


def as_video(source: Any) -> Video:
    """A Video, a path, or uint8 frames [T, H, W, 3] (taken as 8 frames per second)."""
    if isinstance(source, Video):
        return source
    if isinstance(source, str | Path):
        return Video.load(source)
    return Video(np.asarray(source), fps=8.0)


def _checked_embeds(embeds: Any, config: OpenSoraConfig) -> NDArray[Any]:
    array, expected = np.asarray(embeds), (1, config.text.max_length, config.text.hidden_size)
    if array.shape != expected:
        raise InvalidInputError(f"prompt_embeds of shape {array.shape} must have shape {expected}")
    return array
