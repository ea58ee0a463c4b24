"""Prompts to what the official denoisers read: cleaned, cut into tokens, encoded, and kept for the next time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..checks import one_of
from ..errors import InvalidInputError
from ..ops import Array, Ops
from ..serialization.array_cache import ArrayCache, Contents, key_of
from ..text.cleaning import clean_prompt
from ..text.published_tokenizers import CLIP_LENGTH, T5_LENGTHS, PublishedTokenizer, open_tokenizer
from ..text.warning import PromptWarning
from .checkpoint import files_of
from .text_models import load_clip, open_t5
from .tokenizer_files import tokenizer_folder

Encoder = Callable[[Ops, NDArray[Any], NDArray[Any] | None], Array]
"""Host ids [B, L] and mask [B, L] or None -> features [B, L, C] or [B, C]."""

_CONTENTS = Contents()  # of text encoders' files, each read once in a process


class PromptFeatures(NamedTuple):
    """Features on the host, [B, L, C] of tokens or [B, C] of prompts, and the tokens to attend to, bool [B, L]."""

    features: NDArray[Any]
    mask: NDArray[np.bool_]


class PromptEncoder:
    """Encodes prompts; a prompt that was encoded before by the same model comes from the cache, if there is one.

    Args:
        ops: the backend that encodes.
        tokenizer: cuts prompts into tokens.
        encoder: T5 or CLIP; see `t5_prompts` and `clip_prompts`, which put all of it together.
        cleans: whether prompts are cleaned first, as for Open-Sora v1.
        masks: whether padding is hidden from the encoder and, by the mask, from the denoiser.
        key: tells the encoder from others in the cache, such as `fingerprint(path)`.
        cache: what keeps features; None keeps nothing.
    """

    def __init__(
        self,
        ops: Ops,
        tokenizer: PublishedTokenizer,
        encoder: Encoder,
        *,
        cleans: bool,
        masks: bool,
        key: str,
        cache: ArrayCache | None = None,
    ) -> None:
        self.ops, self.tokenizer, self.encoder = ops, tokenizer, encoder
        self.cleans, self.masks, self.key, self.cache = cleans, masks, key, cache

    def __call__(self, prompts: Sequence[str]) -> PromptFeatures:
        """Features and mask of prompts, in their order; those not in the cache are encoded as one batch.

        A PromptWarning says how many tokens of a prompt are cut off.
        """
        if isinstance(prompts, str) or not prompts:
            raise InvalidInputError(f"prompts={prompts!r:.60} must be a list of one or more texts")
        texts = [clean_prompt(prompt) if self.cleans else prompt for prompt in prompts]
        for text in texts:
            if lost := self.tokenizer.describe_loss(text):
                warnings.warn(f"the prompt {text[:40]!r}... is too long: {lost}", PromptWarning, stacklevel=2)
        ids, mask = self.tokenizer.encode_batch(texts)
        mask = mask if self.masks else np.ones_like(mask)
        return PromptFeatures(self._features(ids, mask), mask)

    def _features(self, ids: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
        keys = [key_of("prompt", self.key, self.ops.dtype, row.tolist(), self.masks) for row in ids]
        found = [None if self.cache is None else self.cache.get(key) for key in keys]
        new = [i for i, features in enumerate(found) if features is None]
        if new:
            encoded = self.encoder(self.ops, ids[new], mask[new] if self.masks else None)
            for i, features in zip(new, self.ops.to_numpy(encoded), strict=True):
                found[i] = features
                if self.cache is not None:
                    self.cache.put(keys[i], np.ascontiguousarray(features))
        return np.stack([features for features in found if features is not None])


def t5_prompts(ops: Ops, folder: str | Path, release: str, *, cache: ArrayCache | None = None) -> PromptEncoder:
    """T5 as a release of Open-Sora ("v1.0" to "v1.3", "v2.0") gives it prompts; weights and tokenizer from a folder.

    v1 cleans prompts and hides the padding; v2.0 does neither. The weights stay in their file (see `StreamedT5`).
    Errors as in `open_t5` and `open_tokenizer`.
    """
    length = T5_LENGTHS[one_of("release", release, list(T5_LENGTHS))]
    encoder, is_v1 = open_t5(folder), release != "v2.0"
    key = fingerprint(folder) if cache is not None else ""
    tokenizer = open_tokenizer(tokenizer_folder(folder), length)
    return PromptEncoder(ops, tokenizer, encoder, cleans=is_v1, masks=is_v1, key=key, cache=cache)


def clip_prompts(ops: Ops, folder: str | Path, *, cache: ArrayCache | None = None) -> PromptEncoder:
    """CLIP's pooled token [B, C] as Open-Sora v2.0 has it; model and tokenizer from a folder."""
    clip = load_clip(ops, folder)
    key = fingerprint(folder) if cache is not None else ""
    tokenizer = open_tokenizer(tokenizer_folder(folder), CLIP_LENGTH)

    def pooled(ops: Ops, ids: NDArray[Any], mask: NDArray[Any] | None) -> Array:
        return clip(ops, ids).pooled

    return PromptEncoder(ops, tokenizer, pooled, cleans=False, masks=False, key=key, cache=cache)


def transformers_prompts(model: Any, tokenizer: Any, prompts: Sequence[str], max_length: int) -> PromptFeatures:
    """Features by an encoder of the package `transformers` with its tokenizer, in float32, padding hidden from both.

    The model should be in `eval()` and have `requires_grad_(False)`.
    """
    tokens = tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=max_length, return_tensors="pt"
    ).to(model.device)
    out = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    mask = tokens.attention_mask.cpu().numpy().astype(bool)
    return PromptFeatures(out.last_hidden_state.detach().float().cpu().numpy(), mask)


def fingerprint(path: str | Path) -> str:
    """Hash of all bytes of a published model's files, weights and configuration; errors as in `open_checkpoint`.

    Files are read whole, and in a process once, as long as their size and time of change stay.
    """
    return key_of(*(_CONTENTS.hash(file) for file in files_of(path)))
