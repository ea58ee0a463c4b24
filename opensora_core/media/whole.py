"""Whether a video file is all there.

An mp4 or webm whose tail is missing often decodes without complaint, only shorter; the sizes of its parts tell.
"""

from __future__ import annotations

from typing import IO

from ..errors import FileFormatError

_EBML, _SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")


def check_whole(file: IO[bytes], name: str) -> None:
    """Raise FileFormatError when an mp4 (and its kin), Matroska or AVI file ends before it should; rewind otherwise."""
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(8)
    if head[4:] == b"ftyp":
        due = _end_of_boxes(file, end)
    elif head[:4] == b"RIFF":
        size = int.from_bytes(head[4:], "little")
        due = 8 + size if size != 0xFFFFFFFF else 0  # left open by a recorder that could not go back
    elif head[:4] == _EBML:
        due = _end_of_segment(file)
    else:
        due = 0
    if due > end:
        raise FileFormatError(f"{name} is cut off: it should have {due:,} bytes or more and has {end:,}; copy it anew")
    file.seek(0)


def _end_of_boxes(file: IO[bytes], end: int) -> int:
    """Where the last box of an ISO media file ends; what follows the boxes may be anything and does not count."""
    position = 0
    while end - position >= 8:
        file.seek(position)
        size = int.from_bytes(file.read(4), "big")
        kind = file.read(4)
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if size < 8:  # 0: up to the end of the file, wherever that is
            return 0
        if position + size > end:
            return position + size if kind in (b"ftyp", b"mdat", b"moov", b"moof") else 0
        position += size
    return 0


def _end_of_segment(file: IO[bytes]) -> int:
    """Where the segment of a Matroska file ends, 0 when its length was left open, as in a live recording."""
    file.seek(4)
    header = _length(file)
    file.seek(header or 0, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _length(file)
    return file.tell() + length if length is not None else 0


def _length(file: IO[bytes]) -> int | None:
    """A number of 1 to 8 bytes: as many leading zero bits as further bytes; all ones stand for "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    further = 8 - first[0].bit_length()
    bits = 7 * (further + 1)
    value = int.from_bytes(first + file.read(further), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
