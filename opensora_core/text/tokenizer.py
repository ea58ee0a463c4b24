"""Words to numbers for the embedded model: a fixed list of words, one number each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

PAD, UNKNOWN = 0, 1
SPECIAL_WORDS = ("<pad>", "<unk>")
SHOWN = 8  # words of those that were cut off

_WORD = re.compile(r"[a-z]+")
_CHUNK = re.compile(r"[^\W_]+")  # what a reader takes for a word: letters and digits of any script


class WordTokenizer:
    """Numbers the words of a prompt: runs of the letters a-z, in lower case; everything else separates words.

    Number 0 is padding and 1 any word outside the vocabulary; word i of the vocabulary is number i + 2. Encoding loses
    words silently, since training must not stop for them; `describe_loss` says what a prompt would lose. An empty
    prompt encodes to padding only, with a mask that is False throughout; whether that is an error is the caller's
    decision.

    Args:
        vocabulary: distinct words of the letters a-z.
        max_length: how many words a prompt is padded or cut to, at least 1.

    Raises:
        InvalidInputError: for a word that no prompt could contain, a repeated word or a length below 1.
    """

    def __init__(self, vocabulary: Sequence[str], max_length: int = 24) -> None:
        if max_length < 1:
            raise InvalidInputError(f"max_length={max_length} must be at least 1 word")
        strange = [word for word in vocabulary if not (isinstance(word, str) and _WORD.fullmatch(word))]
        if strange:
            raise InvalidInputError(f"vocabulary words {strange[:5]} do not consist of the letters a-z")
        self._numbers = {word: number for number, word in enumerate(vocabulary, len(SPECIAL_WORDS))}
        if len(self._numbers) != len(vocabulary):
            repeated = sorted({word for word in vocabulary if list(vocabulary).count(word) > 1})
            raise InvalidInputError(f"vocabulary words {repeated[:5]} stand there more than once")
        self.vocabulary = tuple(vocabulary)
        self.max_length = max_length

    def __len__(self) -> int:
        """How many numbers there are, padding and the unknown word included: the rows of an embedding table."""
        return len(SPECIAL_WORDS) + len(self.vocabulary)

    def encode(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Word numbers int64 [L] and a mask bool [L], True where a word stands; L is `max_length`."""
        words = _WORD.findall(text.lower())[: self.max_length]
        ids = np.full(self.max_length, PAD, np.int64)
        ids[: len(words)] = [self._numbers.get(word, UNKNOWN) for word in words]
        return ids, ids != PAD

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Word numbers int64 [B, L] and masks bool [B, L] of several prompts."""
        ids = np.full((len(texts), self.max_length), PAD, np.int64)
        for row, text in zip(ids, texts, strict=True):
            row[:], _ = self.encode(text)
        return ids, ids != PAD

    def unknown_words(self, text: str) -> list[str]:
        """The distinct words of `text` that the vocabulary lacks, in order; numbers and other scripts count."""
        chunks = dict.fromkeys(_CHUNK.findall(text.lower()))
        return [chunk for chunk in chunks if chunk not in self._numbers]

    def dropped_words(self, text: str) -> list[str]:
        """The words beyond the first `max_length`, which `encode` cuts off."""
        return _WORD.findall(text.lower())[self.max_length :]

    def describe_loss(self, text: str) -> str:
        """One sentence on what the encoding of `text` does not tell the model, empty when it tells everything."""
        unknown, dropped = self.unknown_words(text), self.dropped_words(text)
        reasons = []
        if unknown:
            reasons.append(f"unknown to this model: {', '.join(unknown)}")
        if unknown and not self.encode(text)[0].max() > UNKNOWN:
            reasons.append("no word of it is known, so that the prompt decides nothing")
        if dropped:
            more = f" and {len(dropped) - SHOWN} more" if len(dropped) > SHOWN else ""
            reasons.append(f"cut off after {self.max_length} words: {' '.join(dropped[:SHOWN])}{more}")
        return "; ".join(reasons)

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {"type": "word", "max_length": self.max_length, "vocabulary": list(self.vocabulary)}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> WordTokenizer:
        """The tokenizer that `to_dict` described; raises InvalidInputError for any other mapping."""
        if config.get("type") != "word":
            raise InvalidInputError(f"tokenizer type {config.get('type')!r} is not 'word'")
        vocabulary, max_length = config.get("vocabulary"), config.get("max_length")
        if not isinstance(vocabulary, list) or type(max_length) is not int:
            raise InvalidInputError("a word tokenizer needs a list `vocabulary` and an integer `max_length`")
        return cls(vocabulary, max_length)
