"""The tokenizers of published text models.

`tokenizer.json` and CLIP's `vocab.json` with `merges.txt` are read by `tokenizers`, T5's `spiece.model` by
`sentencepiece`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..checks import whole
from ..errors import FileFormatError, InvalidInputError, MissingDependencyError
from ..serialization.jsonfile import read_object

T5_LENGTHS = {"v1.0": 120, "v1.1": 200, "v1.2": 300, "v1.3": 300, "v2.0": 512}
"""Tokens of a prompt that T5 is given in each release of Open-Sora."""
CLIP_LENGTH = 77

FAST, SENTENCES, SETTINGS = "tokenizer.json", "spiece.model", "tokenizer_config.json"
VOCAB, MERGES = "vocab.json", "merges.txt"
START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
SENTINELS = 100  # tokens <extra_id_0> to <extra_id_99> that T5 has after its pieces, the last first
SETTINGS_BYTES = 2**22
SHOWN = 60  # characters of what is cut off


class Encoded(NamedTuple):
    """Token ids int64 and a mask bool, True for tokens and False for padding, both [L] or [B, L]."""

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]


class PublishedTokenizer:
    """Numbers the pieces of prompts, padded or cut to `max_length` as the official releases do.

    Encoding cuts silently, since training must not stop for it; `describe_loss` says what a prompt would lose. What
    marks the end stays the last token of a prompt that is cut.

    Args:
        encode: text -> all its token ids, with those that mark the beginning and the end.
        decode: token ids -> text.
        pad: the id that fills a prompt up.
        max_length: tokens of a prompt, marks included; see T5_LENGTHS and CLIP_LENGTH.
    """

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        decode: Callable[[list[int]], str],
        pad: int,
        max_length: int,
    ) -> None:
        self.max_length = whole("max_length", max_length, 2)
        self.pad = pad
        self._encode, self._decode = encode, decode

    def encode(self, text: str) -> Encoded:
        """Token ids and mask [L] of a prompt."""
        tokens = self._encode(text)
        if len(tokens) > self.max_length:
            tokens = [*tokens[: self.max_length - 1], tokens[-1]]
        ids = np.full(self.max_length, self.pad, np.int64)
        ids[: len(tokens)] = tokens
        return Encoded(ids, np.arange(self.max_length) < len(tokens))

    def encode_batch(self, texts: Sequence[str]) -> Encoded:
        """Token ids and masks [B, L] of several prompts."""
        rows = [self.encode(text) for text in texts]
        shape = (len(rows), self.max_length)
        ids = np.array([row.ids for row in rows], np.int64).reshape(shape)
        return Encoded(ids, np.array([row.mask for row in rows], bool).reshape(shape))

    def describe_loss(self, text: str) -> str:
        """One sentence on what the encoding of `text` leaves out, empty when it is nothing."""
        tokens = self._encode(text)
        lost = tokens[self.max_length - 1 : -1] if len(tokens) > self.max_length else []
        if not lost:
            return ""
        words = self._decode(lost).strip()
        words = words if len(words) <= SHOWN else words[: SHOWN - 3] + "..."
        return f"{len(lost)} of {len(tokens)} tokens are cut off, since {self.max_length} fit: {words!r}"


def open_tokenizer(path: str | Path, max_length: int) -> PublishedTokenizer:
    """The tokenizer of a folder with `tokenizer.json`, `spiece.model` or `vocab.json`, or of one such file.

    Beside `vocab.json` must be `merges.txt`. Special tokens written in a prompt, such as `</s>`, are these tokens, as
    `transformers` has it.

    Raises InvalidInputError where there is none of them, FileFormatError for a damaged one, and MissingDependencyError,
    naming the extra, without the package that reads it.
    """
    path = Path(path)
    found = [path / name for name in (FAST, SENTENCES, VOCAB) if (path / name).is_file()] if path.is_dir() else [path]
    if not found or not found[0].is_file():
        expected = f"{FAST}, {SENTENCES} or {VOCAB} with {MERGES}"
        raise InvalidInputError(f"{path} holds no tokenizer; expected {expected}, alone or in a folder")
    if found[0].name == VOCAB and not found[0].with_name(MERGES).is_file():
        raise InvalidInputError(
            f"{found[0]} has no {MERGES} beside it, which says how letters are joined to its tokens"
        )
    opened = _fast if found[0].suffix == ".json" else _sentencepiece
    return opened(found[0], max_length)


def _fast(path: Path, max_length: int) -> PublishedTokenizer:
    package = _package("tokenizers", path)
    try:
        tokenizer = _clip(package, path) if path.name == VOCAB else package.Tokenizer.from_file(str(path))
    except Exception as error:  # its own errors have no class
        raise FileFormatError(f"{path} is no tokenizer that `tokenizers` reads: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return PublishedTokenizer(
        lambda text: tokenizer.encode(text).ids, tokenizer.decode, _pad(tokenizer, path), max_length
    )


def _clip(package: Any, vocab: Path) -> Any:
    """CLIP's tokenizer: lower case, words to pairs of bytes, and marks at both ends."""
    normal, split, after = package.normalizers, package.pre_tokenizers, package.processors
    pairs = package.models.BPE.from_file(
        str(vocab), str(vocab.with_name(MERGES)), unk_token=END, end_of_word_suffix="</w>"
    )
    made = package.Tokenizer(pairs)
    spaces = normal.Replace(package.Regex(r"\s+"), " ")
    made.normalizer = normal.Sequence([normal.NFC(), spaces, normal.Lowercase()])
    words = split.Split(package.Regex(CLIP_WORDS), "removed", invert=True)
    made.pre_tokenizer = split.Sequence([words, split.ByteLevel(add_prefix_space=False)])
    made.decoder = package.decoders.Sequence([package.decoders.ByteLevel(), package.decoders.Replace("</w>", " ")])
    marks = [(token, pairs.token_to_id(token)) for token in (START, END)]
    made.post_processor = after.TemplateProcessing(single=f"{START} $A {END}", special_tokens=marks)
    made.add_special_tokens([START, END])
    return made


def _pad(tokenizer: Any, path: Path) -> int:
    """The id of the padding token, which the settings beside the tokenizer name; CLIP pads with its end."""
    settings = path.with_name(SETTINGS)
    named = read_object(settings, SETTINGS_BYTES).get("pad_token") if settings.exists() else None
    token = named.get("content") if isinstance(named, dict) else named
    pad = tokenizer.token_to_id(token or "<pad>")
    return int(tokenizer.encode("").ids[-1] if pad is None else pad)


def _sentencepiece(path: Path, max_length: int) -> PublishedTokenizer:
    package = _package("sentencepiece", path)
    try:
        pieces = package.SentencePieceProcessor(model_file=str(path))
        special = _special_tokens(pieces)
    except Exception as error:
        raise FileFormatError(f"{path} is no model that `sentencepiece` reads: {error}") from error
    names = re.compile("(" + "|".join(map(re.escape, special)) + ")")

    def encode(text: str) -> list[int]:
        parts = ([special[part]] if part in special else pieces.encode(part) for part in names.split(text))
        return [*chain.from_iterable(parts), pieces.eos_id()]

    def decode(ids: list[int]) -> str:
        return str(pieces.decode([token for token in ids if token < len(pieces)]))

    return PublishedTokenizer(encode, decode, pieces.pad_id(), max_length)


def _special_tokens(pieces: Any) -> dict[str, int]:
    """The tokens that `sentencepiece` does not look for in a text, with their ids."""
    marks = {pieces.id_to_piece(token): token for token in (pieces.pad_id(), pieces.eos_id(), pieces.unk_id())}
    last = len(pieces) + SENTINELS - 1
    return marks | {f"<extra_id_{number}>": last - number for number in range(SENTINELS)}


def _package(name: str, path: Path) -> Any:
    """A package of the extra that reads a file."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = "pip install 'opensora-core[text]'"
        raise MissingDependencyError(f"reading {path.name} needs {name}: {remedy}", name=name) from error
