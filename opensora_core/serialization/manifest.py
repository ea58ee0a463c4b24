"""The list of all files of a folder with their sizes and sha256: shows damage, and which folders this library owns."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ..errors import FileFormatError, InvalidInputError
from .jsonfile import encode_object, read_object
from .names import show

MANIFEST: Final = "manifest.json"
FORMAT: Final = "opensora-folder"
VERSION: Final = 1
MANIFEST_BYTES: Final = 8 * 2**20

_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # left by file browsers in any folder they show


class UnknownVersionError(FileFormatError):
    """A folder is not damaged, but of a version that this library does not know."""


def write_manifest(folder: Path) -> None:
    """List every file below `folder` in its `manifest.json`."""
    files = {}
    for name in sorted(_files(folder)):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise InvalidInputError(f"{path} is not a regular file: links and devices cannot be saved in a folder")
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    manifest = {"format": FORMAT, "version": VERSION, "files": files}
    (folder / MANIFEST).write_bytes(encode_object(manifest, MANIFEST, MANIFEST_BYTES))


def verify_manifest(folder: Path) -> None:
    """Compare every listed file with its size and sha256; FileFormatError naming the first that differs."""
    for name, size, digest in _read(folder):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise FileFormatError(f"{path} is listed in {MANIFEST} but is not there; was it copied whole?")
        if path.stat().st_size != size:
            raise FileFormatError(
                f"{path} has {path.stat().st_size} bytes, {MANIFEST} says {size}; was it copied whole?"
            )
        if sha256(path) != digest:
            raise FileFormatError(f"{path} was changed after it was saved: its sha256 differs from {MANIFEST}")


def foreign_content(folder: Path) -> str | None:
    """Why `folder` is not entirely this library's own, or None if nothing of anybody else would be lost with it."""
    found = [name for name in _files(folder) if Path(name).name not in _LITTER]
    if not found and not (folder / MANIFEST).exists():
        return None
    try:
        listed = {name for name, _, _ in _read(folder)}
    except FileFormatError as error:
        return str(error)
    surplus = sorted(set(found) - listed)
    return f"{show(surplus[0])} in it is not in its {MANIFEST}" if surplus else None


def sha256(path: Path) -> str:
    """The sha256 of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """All files below `folder`, as `sub/name`, but the manifest itself. Links are listed and not followed."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in files + links:
            relative = Path(parent, name).relative_to(folder).as_posix()
            if relative != MANIFEST:
                yield relative


def _read(folder: Path) -> list[tuple[str, int, str]]:
    path = folder / MANIFEST
    if not path.is_file():
        raise FileFormatError(f"{folder} has no {MANIFEST}: it was not saved by this library, or not copied whole")
    manifest = read_object(path, MANIFEST_BYTES)
    if manifest.get("format") != FORMAT:
        raise FileFormatError(f"{path}: the format is {manifest.get('format')!r:.80}, expected {FORMAT!r}")
    if manifest.get("version") != VERSION:
        raise UnknownVersionError(
            f"{path}: version {manifest.get('version')!r:.80} is unknown, this library knows {VERSION}; upgrade it?"
        )
    if not isinstance(manifest.get("files"), dict):
        raise FileFormatError(f"{path}: 'files' is not an object")
    return [_record(name, record, path) for name, record in manifest["files"].items()]


def _record(name: str, record: Any, path: Path) -> tuple[str, int, str]:
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise FileFormatError(f"{path}: the file name {show(name)} leads out of the folder or is malformed")
    if not isinstance(record, dict) or set(record) != {"bytes", "sha256"}:
        raise FileFormatError(f"{path}: {show(name)} needs exactly 'bytes' and 'sha256'")
    if type(record["bytes"]) is not int or not isinstance(record["sha256"], str):
        raise FileFormatError(f"{path}: {show(name)} has a size that is no integer or a sha256 that is no text")
    return name, record["bytes"], record["sha256"]
