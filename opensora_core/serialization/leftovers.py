"""Hidden siblings of a file or folder that is being saved, and what to do with those that a killed program left."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from pathlib import Path

_TEMPORARY = re.compile(r"\.opensora-[0-9a-f]{16}\.(tmp(\..*)?|old-.+)")
_ASIDE = re.compile(r"\.opensora-[0-9a-f]{16}\.old-(.+)")


def temporary_sibling(target: Path, suffix: str = "") -> Path:
    """A fresh hidden name in the folder of `target`, on the same file system and therefore one rename away from it."""
    return target.with_name(f".opensora-{secrets.token_hex(8)}.tmp{suffix}")


def aside_of(target: Path) -> Path:
    """A fresh hidden name for what stands at `target` while its replacement takes the place."""
    return target.with_name(f".opensora-{secrets.token_hex(8)}.old-{target.name}")


def put_back(folder: Path) -> list[Path]:
    """Give back their names to folders that were moved aside and never replaced; returns their paths.

    A save that is killed between moving the old folder aside and renaming the new one leaves neither in place.
    """
    restored = []
    for path, name in _matches(folder, _ASIDE):
        target = folder / name.group(1)
        if not target.exists():
            with contextlib.suppress(FileNotFoundError):  # another process of a team was faster
                path.rename(target)
                restored.append(target)
    return restored


def remove_leftovers(folder: Path) -> int:
    """Remove what killed saves left in a folder, after `put_back`; returns how many there were.

    To be called by the only program that saves there: what another one is writing would be lost.
    """
    put_back(folder)
    found = [path for path, _ in _matches(folder, _TEMPORARY)]
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return len(found)


def _matches(folder: Path, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    if not folder.is_dir():
        return []
    return [(path, found) for path in sorted(folder.iterdir()) if (found := pattern.fullmatch(path.name))]
