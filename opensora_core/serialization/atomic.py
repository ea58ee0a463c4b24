"""Files that appear whole or not at all.

The content is written to a temporary sibling, flushed to the disk, and renamed onto its final name in one step. Whoever
looks at the final name sees either what was there before or the complete new file, even after a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from opensora_core.errors import InvalidInputError, LimitError

StrPath = str | os.PathLike[str]

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_CANNOT_SYNC_FOLDER = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}


@contextlib.contextmanager
def atomic_file(path: StrPath, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `path` when the block ends without an exception.

    The temporary file exists (empty), lies beside the target and has the target's suffix, so that an encoder infers the
    same container from it. On any exception, KeyboardInterrupt included, it is removed and `path` is untouched. A
    symbolic link is followed: the file it points to is replaced, the link stays.

    Raises InvalidInputError when the folder is missing or cannot be written to, when the target is no regular file, or
    when it exists and `overwrite` is false; LimitError when the disk is full.
    """
    target = _resolve(path)
    _check_target(target, overwrite)
    temporary = temporary_sibling(target, Path(path).suffix)
    try:
        _create(temporary, target)
        yield temporary
        _copy_mode(target, temporary)
        sync_file(temporary)
        _publish(temporary, target, overwrite)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise LimitError(
                f"no space left on the disk while writing {target}: free some or choose another"
            ) from error
        raise
    finally:
        with contextlib.suppress(OSError):  # gone already; or the error on its way says more than this one
            temporary.unlink()
    sync_folder(target.parent)


def temporary_sibling(target: Path, suffix: str = "") -> Path:
    """A fresh hidden name in the folder of `target`, on the same file system and therefore one rename away from it."""
    return target.with_name(f".opensora-{secrets.token_hex(8)}.tmp{suffix}")


def sync_file(path: Path) -> None:
    """Wait until the content of the file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in the folder are on the disk, where the file system knows how to."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDER:
            raise
    finally:
        os.close(descriptor)


def folder_error(error: OSError, target: Path) -> InvalidInputError | LimitError:
    """What went wrong when a temporary sibling of `target` was created, in the user's terms."""
    folder = target.parent
    if error.errno in _DISK_FULL:
        return LimitError(f"no space left on the disk for {target}: free some or choose another")
    if isinstance(error, FileNotFoundError):
        return InvalidInputError(f"cannot write {target}: the folder {folder} does not exist; create it first")
    if isinstance(error, NotADirectoryError):
        return InvalidInputError(f"cannot write {target}: {folder} is a file, not a folder")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return InvalidInputError(f"cannot write {target}: no permission to create files in {folder}; choose another")
    return InvalidInputError(f"cannot write {target}: {error.strerror or error}")


def _resolve(path: StrPath) -> Path:
    if not os.fspath(path):
        raise InvalidInputError("cannot write to an empty path: give a file name")
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:  # a loop of links, a null byte
        raise InvalidInputError(f"cannot write to {os.fspath(path)!r}: {error}") from error


def _check_target(target: Path, overwrite: bool) -> None:
    try:
        mode = target.stat().st_mode
    except OSError:  # absent; whatever else is wrong shows when the temporary file is created
        return
    if stat.S_ISDIR(mode):
        raise InvalidInputError(f"cannot write {target}: it is a folder; give a file name")
    if not stat.S_ISREG(mode):
        raise InvalidInputError(f"cannot write {target}: it is not a regular file")
    if not overwrite:
        raise InvalidInputError(f"{target} exists already: choose another name or allow overwriting")


def _create(temporary: Path, target: Path) -> None:
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except OSError as error:
        raise folder_error(error, target) from error
    os.close(descriptor)


def _copy_mode(target: Path, temporary: Path) -> None:
    """A file that is replaced keeps its permissions."""
    with contextlib.suppress(FileNotFoundError):
        os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))


def _publish(temporary: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # unlike a rename, refuses a name that was taken while we were writing
    except FileExistsError as error:
        raise InvalidInputError(f"{target} appeared while it was being written; it is left as it is") from error
    except OSError:  # a file system without hard links
        _check_target(target, overwrite)
        os.replace(temporary, target)
