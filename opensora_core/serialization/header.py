"""The header of a safetensors file, parsed strictly and within limits.

A safetensors file is an 8-byte little-endian length, a JSON header of that length, and the data:

    {"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}

The published library (0.8) accepts repeated keys and names such as `../../x`, and spends seconds and hundreds of
megabytes on a hostile header. This parser knows just the grammar above, so that its depth is fixed and every limit is
checked before memory is spent; it accepts a subset of what the library accepts.
Format: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final, NoReturn

from ..errors import FileFormatError
from .dtypes import NUMPY_DTYPES
from .names import name_problem, show, value_problem

METADATA_KEY: Final = "__metadata__"


@dataclass(frozen=True)
class Limits:
    """What a header may cost; the largest official checkpoints stay below a tenth of each."""

    header_bytes: int = 8 * 2**20
    entries: int = 65_536
    name_length: int = 512  # characters
    rank: int = 16  # axes of one tensor
    metadata_entries: int = 1_024


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: its dtype name in the file, its shape, and its bytes counted from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """All tensors of a file in the order of their data, the metadata, and where the data starts in the file."""

    entries: dict[str, Entry]
    metadata: dict[str, str] = field(default_factory=dict)
    data_start: int = 0


def read_header(file: BinaryIO, size: int, source: str, limits: Limits = LIMITS) -> Header:
    """Read and check the header of an open file of `size` bytes; `source` names the file in errors.

    Raises FileFormatError for whatever does not follow the format or exceeds a limit. Reads the header only.
    """
    if size < 8:
        raise FileFormatError(f"{source}: {size} bytes are too few for a safetensors file; is it truncated?")
    length = int.from_bytes(file.read(8), "little")
    if length > limits.header_bytes:
        raise FileFormatError(
            f"{source}: the header claims {length} bytes, the limit is {limits.header_bytes}; is it one at all?"
        )
    if 8 + length > size:
        raise FileFormatError(f"{source}: the header claims {length} bytes, only {size - 8} follow; is it truncated?")
    try:
        text = file.read(length).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{source}: the header is not UTF-8: {error.reason} at byte {8 + error.start}") from error
    entries, metadata = _Parser(text, source, limits).parse()
    return Header(_check_layout(entries, size - 8 - length, source), metadata, 8 + length)


# Possessive quantifiers (*+) keep every match linear in time and constant in memory.
_WS = r"[ \t\n\r]*+"
_TEXT = r'"[^"\\\x00-\x1f]*+(?:\\["\\/bfnrtu][^"\\\x00-\x1f]*+)*+"'
_INTEGER = r"(?:0|[1-9][0-9]{0,18}+)"
_INTEGERS = rf"\[{_WS}(?:{_INTEGER}{_WS}(?:,{_WS}{_INTEGER}{_WS})*+)?+\]"
_FIELD = rf'{_WS}"(dtype|shape|data_offsets)"{_WS}:{_WS}("[A-Za-z0-9_]*+"|{_INTEGERS}){_WS}'
_SPACE = re.compile(_WS)
_KEY = re.compile(rf"{_WS}({_TEXT}){_WS}:{_WS}")
_VALUE = re.compile(_TEXT)
_ENTRY = re.compile(rf"\{{{_FIELD},{_FIELD},{_FIELD}\}}")
_DIGITS = re.compile(r"[0-9]+")


class _Parser:
    """One pass over the text of a header; `at` is the next character to look at."""

    def __init__(self, text: str, source: str, limits: Limits) -> None:
        self.text, self.source, self.limits, self.at = text, source, limits, 0

    def parse(self) -> tuple[dict[str, Entry], dict[str, str]]:
        entries: dict[str, Entry] = {}
        metadata: dict[str, str] | None = None
        if not self.text.startswith("{"):
            self.fail("the header does not start with '{'; is this a safetensors file?")
        for name in self.keys():
            if name in entries or (name == METADATA_KEY and metadata is not None):
                self.fail(f"{show(name)} appears twice")
            if name == METADATA_KEY:
                metadata = self.metadata()
                continue
            if len(entries) == self.limits.entries:
                self.fail(f"more tensors than the limit of {self.limits.entries}")
            entries[name] = self.entry(name)
        if _SPACE.fullmatch(self.text, self.at) is None:
            self.fail(f"after its end the header goes on with {self.excerpt()}")
        return entries, metadata or {}

    def metadata(self) -> dict[str, str]:
        metadata: dict[str, str] = {}
        for key in self.keys():
            if key in metadata:
                self.fail(f"metadata {show(key)} appears twice")
            if len(metadata) == self.limits.metadata_entries:
                self.fail(f"more metadata than the limit of {self.limits.metadata_entries} keys")
            metadata[key] = self.value(key)
        return metadata

    def keys(self) -> Iterator[str]:
        """The keys of the object that starts here; the caller consumes each value before it asks for the next key."""
        if not self.take("{"):
            self.fail(f"expected an object, found {self.excerpt()}")
        if self.take("}"):
            return
        while True:
            match = _KEY.match(self.text, self.at)
            if match is None:
                self.fail(f"expected a quoted name and a colon, found {self.excerpt()}")
            name = self.unquote(match[1])
            if problem := name_problem(name, self.limits.name_length):
                self.fail(f"the name {show(name)} is refused: {problem}")
            self.at = match.end()
            yield name
            if self.take("}"):
                return
            if not self.take(","):
                self.fail(f"after {show(name)} expected ',' or '}}', found {self.excerpt()}")

    def entry(self, name: str) -> Entry:
        match = _ENTRY.match(self.text, self.at)
        fields = dict(zip(match.groups()[::2], match.groups()[1::2], strict=True)) if match else {}
        if match is None or len(fields) != 3:
            self.fail(f"tensor {show(name)}: expected exactly dtype, shape and data_offsets, found {self.excerpt()}")
        self.at = match.end()
        dtype = fields["dtype"].strip('"')
        if dtype not in NUMPY_DTYPES:
            self.fail(f"tensor {show(name)}: dtype {show(dtype)} is unknown; supported are {', '.join(NUMPY_DTYPES)}")
        shape = self.integers(name, "shape", fields["shape"], self.limits.rank)
        offsets = self.integers(name, "data_offsets", fields["data_offsets"], 2)
        if len(offsets) != 2 or offsets[0] > offsets[1]:
            self.fail(f"tensor {show(name)}: data_offsets {list(offsets)} are not a begin and an end after it")
        size = math.prod(shape) * NUMPY_DTYPES[dtype].itemsize
        if offsets[1] - offsets[0] != size:
            self.fail(
                f"tensor {show(name)}: shape {list(shape)} of {dtype} takes {size} bytes, "
                f"data_offsets {list(offsets)} span {offsets[1] - offsets[0]}"
            )
        return Entry(dtype, shape, offsets[0], offsets[1])

    def integers(self, name: str, field: str, text: str, most: int) -> tuple[int, ...]:
        if not text.startswith("["):
            self.fail(f"tensor {show(name)}: {field} is not a list of integers")
        if text.count(",") >= most:
            self.fail(f"tensor {show(name)}: {field} has {text.count(',') + 1} numbers, the limit is {most}")
        return tuple(int(digits) for digits in _DIGITS.findall(text))

    def value(self, key: str) -> str:
        match = _VALUE.match(self.text, self.at)
        if match is None:
            self.fail(f"metadata {show(key)}: expected a text, found {self.excerpt()}")
        self.at = match.end()
        value = self.unquote(match[0])
        if problem := value_problem(value):
            self.fail(f"the value of metadata {show(key)} is refused: {problem}")
        return value

    def unquote(self, quoted: str) -> str:
        if "\\" not in quoted:
            return quoted[1:-1]
        try:
            return str(json.loads(quoted))
        except ValueError:
            self.fail(f"bad escape in {show(quoted)}")

    def take(self, character: str) -> bool:
        """Skip blanks; step over `character` if it comes next."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        if not self.text.startswith(character, self.at):
            return False
        self.at += 1
        return True

    def excerpt(self) -> str:
        return show(self.text[self.at : self.at + 80]) if self.at < len(self.text) else "the end of the header"

    def fail(self, problem: str) -> NoReturn:
        raise FileFormatError(f"{self.source}: {problem}")


def _check_layout(entries: dict[str, Entry], data_bytes: int, source: str) -> dict[str, Entry]:
    """Data must follow data without gap or overlap and fill the file; returns the entries in that order."""
    at, previous = 0, "the header"
    ordered = sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end))
    for name, entry in ordered:
        if entry.begin != at:
            what = "overlaps" if entry.begin < at else "leaves a gap after"
            raise FileFormatError(
                f"{source}: tensor {show(name)} at byte {entry.begin} {what} {previous} ending at {at}"
            )
        at, previous = entry.end, f"tensor {show(name)}"
    if at > data_bytes:
        raise FileFormatError(
            f"{source}: {previous} ends at byte {at} of the data, only {data_bytes} are there; is the file truncated?"
        )
    if at < data_bytes:
        raise FileFormatError(f"{source}: {data_bytes - at} bytes follow the last tensor; expected none")
    return dict(ordered)
