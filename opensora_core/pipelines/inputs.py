"""What users hand in, checked: prompts, embeddings, latents, clips."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, NonFiniteError
from ..media.images import fit, read_image
from ..media.video import Video
from ..ops import Array, Ops
from ..text.warning import PromptWarning
from .components import Components
from .config import OpenSoraConfig
from .generation import Prompt, encode_prompt, null_caption

if TYPE_CHECKING:
    from .video_model import Wanted

MAX_PROMPT = 2500  # so that a prompt and a negative one fit into a video file's comment, in any script


class Embeds(NamedTuple):
    """Text features [1, L, C] in place of a text, and their mask [1, L]; None where the text is to be read."""

    features: Any = None
    mask: Any = None


def read_prompt(
    ops: Ops,
    parts: Components,
    text: str,
    *,
    negative: str | None,
    embeds: Embeds,
    negative_embeds: Embeds,
    may_be_empty: bool,
) -> Prompt:
    """Text, or features with a mask, as the sampler needs it; unknown words are warned about.

    A blank text stands for no prompt at all, and a blank negative one for none: the null caption, as in training.
    """
    encoded = _given(ops, parts.config, "prompt", embeds)
    if encoded is None:
        encoded = _read_text(ops, parts, "prompt", text, may_be_empty=may_be_empty)
    check_prompt("negative_prompt", negative or "", may_be_empty=True)
    instead = _given(ops, parts.config, "negative_prompt", negative_embeds)
    if negative and negative.strip():
        if instead is not None:
            raise InvalidInputError("negative_prompt and negative_prompt_embeds both say what to avoid; give one")
        instead = _read_text(ops, parts, "negative_prompt", negative, may_be_empty=False)
    return Prompt(*encoded, instead)


def check_prompt(name: str, text: str, *, may_be_empty: bool = False, most: int = MAX_PROMPT) -> None:
    """Refuse what is no prompt, and one of more than `most` characters."""
    if not isinstance(text, str):
        raise InvalidInputError(f"{name}={text!r:.60} must be text")
    if len(text) > most:
        raise InvalidInputError(f"the {name} {text[:40]!r}... has {len(text)} characters; at most {most} are allowed")
    if not text.strip() and not may_be_empty:
        raise InvalidInputError(f"the {name} is empty; say what the video should show")


def check_latents(shape: Sequence[int], config: OpenSoraConfig) -> None:
    """Refuse latents that are not of this model."""
    channels = config.codec.latent_channels
    if len(shape) != 5 or shape[1] != channels or 0 in shape:
        raise InvalidInputError(f"latents of shape {tuple(shape)} must be [B, {channels}, T, h, w]")


def check_frames(pixels: NDArray[Any]) -> None:
    """Refuse what is no batch of clips, uint8 [B, T, H, W, 3]."""
    if pixels.ndim != 5 or pixels.shape[-1] != 3 or 0 in pixels.shape or pixels.dtype != np.uint8:
        raise InvalidInputError(
            f"frames of shape {pixels.shape} and dtype {pixels.dtype} must be uint8 [T, H, W, 3] or [B, T, H, W, 3]"
        )


def one_beginning(image: Any, video: Video | None) -> None:
    """Refuse an image and a video at once."""
    if image is not None and video is not None:
        raise InvalidInputError("a video begins with an image or with a video, not with both")


def beginning(image: Any, video: Video | None, request: Wanted) -> NDArray[np.uint8]:
    """Return the frames [T, H, W, 3] that a request's video begins with, possibly none; they must leave it room."""
    one_beginning(image, video)
    if video is None:
        if image is None:
            return np.zeros((0, request.height, request.width, 3), np.uint8)
        return fit(read_image(image)[None], request.height, request.width)
    if (video.height, video.width) != (request.height, request.width):
        raise InvalidInputError(
            f"the video is {video.width}x{video.height} pixels, but width={request.width} and height={request.height} "
            "were asked for; bring it to that size with video.fit(height, width)"
        )
    if video.fps != request.fps:
        raise InvalidInputError(
            f"the video has fps={video.fps:g}, but fps={request.fps:g} was asked for; "
            "bring it to that rate with video.resample(fps)"
        )
    if request.num_frames <= video.num_frames:
        raise InvalidInputError(
            f"num_frames={request.num_frames} must exceed the {video.num_frames} frames that the video begins with"
        )
    return video.frames


def as_continued(options: Mapping[str, Any], video: Video | None) -> dict[str, Any]:
    """Options that are said (not None); where a video is continued, its size and rate stand for those that are not.

    A resolution or an aspect ratio says the size, too.
    """
    said = {name: value for name, value in options.items() if value is not None}
    if video is None:
        return said
    named = "resolution" in said or "aspect_ratio" in said
    size = {} if named else {"height": video.height, "width": video.width}
    return {"fps": video.fps, **size, **said}


def as_video(source: Any, fps: float | None = None) -> Video:
    """A Video, a path, or uint8 frames [T, H, W, 3] at a rate (8 frames per second unless given)."""
    if isinstance(source, Video):
        return source
    if isinstance(source, str | Path):
        return Video.load(source)
    return Video(np.asarray(source), fps=8.0 if fps is None else fps)


def _read_text(ops: Ops, parts: Components, name: str, text: str, *, may_be_empty: bool) -> tuple[Array, Array]:
    check_prompt(name, text, may_be_empty=may_be_empty)
    if not text.strip():
        return null_caption(ops, parts)
    if not parts.tokenizer.encode(text)[1].any():
        raise InvalidInputError(
            f"the {name} {text[:40]!r} holds no word that this model reads: it reads letters a to z"
        )
    if lost := parts.tokenizer.describe_loss(text):
        warnings.warn(lost, PromptWarning, stacklevel=3)
    return encode_prompt(ops, parts, [text])


def _given(ops: Ops, config: OpenSoraConfig, name: str, embeds: Embeds) -> tuple[Array, Array] | None:
    """Features that are given in place of a text, None if there are none."""
    if embeds.features is not None:
        return read_embeds(ops, config, embeds, name)
    if embeds.mask is not None:
        raise InvalidInputError(f"{name}_mask goes with {name}_embeds; a prompt has its own mask")
    return None


def read_embeds(ops: Ops, config: OpenSoraConfig, embeds: Embeds, name: str = "prompt") -> tuple[Array, Array]:
    """Features [1, L, C] and their mask [1, L] (None: all tokens) on the backend; refuses other shapes, NaN and Inf."""
    expected = (1, config.text.max_length, config.text.hidden_size)
    if np.shape(embeds.features) != expected:
        raise InvalidInputError(f"{name}_embeds of shape {np.shape(embeds.features)} must have shape {expected}")
    features = ops.asarray(embeds.features, ops.dtype)
    if not np.isfinite(ops.to_numpy(ops.widen(features))).all():
        raise NonFiniteError(f"{name}_embeds hold NaN or Inf in {ops.dtype}")
    flags = np.ones(expected[:2], bool) if embeds.mask is None else np.asarray(embeds.mask).astype(bool)
    if flags.shape != expected[:2]:
        raise InvalidInputError(f"{name}_mask of shape {flags.shape} must have shape {expected[:2]}")
    return features, ops.asarray(flags)
