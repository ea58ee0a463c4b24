"""Text features that are handed in, in place of a prompt or of what to stay away from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError, NonFiniteError
from ...releases.task import Text
from ...text.published_tokenizers import T5_LENGTHS
from .components import ReleaseFiles
from .request import PublishedRequest


def read_embeds(files: ReleaseFiles, name: str, value: Any) -> Text | None:
    """Features [1, L, C], all of whose tokens count, or a Text with a mask and, of v2.0, the pooled vector [1, V].

    What `t5_prompts` gives, features with their mask, will do for v1. Checked against the configuration of the
    denoiser; None if `value` is None. Raises InvalidInputError for another shape, NonFiniteError for NaN and Inf.
    """
    if value is None:
        return None
    text = value if isinstance(value, Text) else _text(name, value)
    _check_features(files, name, text.features, text.mask)
    if text.negative is not None:
        _check_features(files, f"{name}.negative", *text.negative)
        _check_alike(text.features, text.negative[0])
    if files.release.pooled:
        vectors = {f"{name}.pooled": text.pooled}
        if text.negative is not None:
            vectors[f"{name}.negative_pooled"] = text.negative_pooled
        for part, vector in vectors.items():
            _check(part, vector, (1, files.denoiser_config.vec_in_dim))
    return text


def _text(name: str, value: Any) -> Text:
    if isinstance(value, tuple) and len(value) == 2:  # such as PromptFeatures
        return Text(*value)
    try:
        features = np.asarray(value)
    except ValueError:  # lists of different lengths
        raise InvalidInputError(f"{name} must be features [1, L, C] or a Text, not a {type(value).__name__}") from None
    return Text(features, np.ones(features.shape[:2], bool))


def check_negative_prompt(release: str, embeds: Text) -> None:
    """Refuse features that a negative prompt cannot go with: as encoded it has the release's number of tokens."""
    length = T5_LENGTHS[release]
    if embeds.features.shape[1] != length:
        raise InvalidInputError(
            f"prompt_embeds hold {embeds.features.shape[1]} tokens, but a negative prompt of {release} has {length}: "
            "give negative_prompt_embeds of the same length"
        )


def with_negative(request: PublishedRequest, texts: Sequence[Text], negative: Text | None) -> list[Text]:
    """Every text with the features of what to stay away from; v2.0 cannot do without, unless it is distilled.

    Raises InvalidInputError where they are not as long as the text's, or missing.
    """
    if negative is not None:
        for text in texts:
            _check_alike(text.features, negative.features)
        avoided = negative.features, negative.mask
        texts = [text._replace(negative=avoided, negative_pooled=negative.pooled) for text in texts]
    if request.needs_negative and any(text.negative is None for text in texts):
        raise InvalidInputError(
            "v2.0 is guided away from a negative prompt: give negative_prompt_embeds with prompt_embeds, such as the "
            "features of an empty text"
        )
    return list(texts)


def _check_features(files: ReleaseFiles, name: str, features: Any, mask: Any) -> None:
    config = files.denoiser_config
    length = np.shape(features)[1] if np.ndim(features) == 3 else None
    _check(name, features, (1, length or "L", files.release.text_width(config)))
    most = getattr(config, "model_max_length", None)
    if most is not None and length is not None and length > most:
        raise InvalidInputError(f"{name} hold {length} tokens; {files.release.name} reads at most {most}")
    if mask is None:
        raise InvalidInputError(f"{name} need a mask of shape {(1, length)}: True stands for tokens that count")
    if np.shape(mask) != (1, length):
        raise InvalidInputError(f"the mask of {name} has shape {np.shape(mask)}; expected {(1, length)}")
    if not np.asarray(mask, bool).any():
        raise InvalidInputError(f"the mask of {name} hides every token: True stands for those that count")


def _check(name: str, array: Any, expected: tuple[Any, ...]) -> None:
    if array is None or np.shape(array) != expected:
        shape = None if array is None else np.shape(array)
        raise InvalidInputError(f"{name} of shape {shape} must have shape ({', '.join(map(str, expected))})")
    if not np.isfinite(np.asarray(array, np.float32)).all():
        raise NonFiniteError(f"{name} hold NaN or Inf")


def _check_alike(features: NDArray[Any], negative: NDArray[Any]) -> None:
    if features.shape != negative.shape:
        raise InvalidInputError(
            f"the negative features have shape {negative.shape}; they must have {features.shape}, that of the prompt's"
        )
