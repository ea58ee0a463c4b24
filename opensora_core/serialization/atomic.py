"""Files and folders that appear whole or not at all.

The content is written to a temporary sibling, flushed to the disk, and renamed onto its final name in one step. Whoever
looks at the final name sees either what was there before or the complete new file, even after a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import InvalidInputError, LimitError
from .leftovers import aside_of, temporary_sibling
from .manifest import foreign_content, write_manifest

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
        with naming_a_full_disk(target):
            _create(temporary, target)
            yield temporary
            _copy_mode(target, temporary)
            sync_file(temporary)
            _publish(temporary, target, overwrite)
    finally:
        with contextlib.suppress(OSError):  # gone already; or the error on its way says more than this one
            temporary.unlink()
    sync_folder(target.parent)


@contextlib.contextmanager
def atomic_folder(path: StrPath, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary folder to fill; with a `manifest.json` added, it becomes `path` when the block ends.

    On any exception it is removed and `path` is untouched. An older folder at `path` is replaced only if it is empty or
    this library's own, which means that its manifest lists every file in it; it is moved aside first and deleted
    when the new one is in place. (A program killed between the two renames leaves the old one under a hidden name,
    which `put_back` undoes.)

    Raises InvalidInputError and LimitError as `atomic_file` does, and InvalidInputError for a folder not our own.
    """
    target = _resolve(path)
    _check_folder(target, overwrite)
    temporary = temporary_sibling(target)
    try:
        with naming_a_full_disk(target):
            _create_folder(temporary, target)
            yield temporary
            write_manifest(temporary)
            _sync_tree(temporary)
            _check_folder(target, overwrite)  # again: much may have happened while a large model was written
            _swap_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(target.parent)


@contextlib.contextmanager
def naming_a_full_disk(target: StrPath) -> Iterator[None]:
    """Raise LimitError, naming what was to be written, where the block fails because the disk is full.

    Of blocks in one another the outermost names its target, not the hidden folder in which the others write.
    """
    try:
        yield
    except (OSError, LimitError) as error:
        reason = error.__cause__ if isinstance(error, LimitError) else error
        if isinstance(reason, OSError) and reason.errno in _DISK_FULL:
            raise _disk_full(target) from reason
        raise


def sync_file(path: Path) -> None:
    """Wait until the content of the file is on the disk."""
    with open(path, "rb+" if os.name == "nt" else "rb") as file:  # Windows wants a writable file
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
        return _disk_full(target)
    if isinstance(error, FileNotFoundError) and not folder.exists():
        return InvalidInputError(f"cannot write {target}: the folder {folder} does not exist; create it first")
    if isinstance(error, NotADirectoryError):
        return InvalidInputError(f"cannot write {target}: {folder} is a file, not a folder")
    if isinstance(error, FileNotFoundError | PermissionError) or error.errno == errno.EROFS:  # /proc says "not found"
        return InvalidInputError(f"cannot write {target}: no permission to create files in {folder}; choose another")
    return InvalidInputError(f"cannot write {target}: {error.strerror or error}")


def _disk_full(target: StrPath) -> LimitError:
    return LimitError(f"no space left on the disk while writing {target}: free some or choose another")


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
        raise InvalidInputError(f"{target} exists already: choose another name, or allow overwriting")


def _create(temporary: Path, target: Path) -> None:
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except OSError as error:
        raise folder_error(error, target) from error
    os.close(descriptor)


def _create_folder(temporary: Path, target: Path) -> None:
    try:
        os.mkdir(temporary)
    except OSError as error:
        raise folder_error(error, target) from error


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


def _check_folder(target: Path, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise InvalidInputError(f"cannot write the folder {target}: a file of that name exists")
    if not overwrite and any(target.iterdir()):
        raise InvalidInputError(f"{target} exists already: choose another name, or allow overwriting")
    if foreign := foreign_content(target):
        raise InvalidInputError(f"{target} is not replaced, it may hold files of yours: {foreign}; choose another name")


def _sync_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync_file(Path(parent, name))
        sync_folder(Path(parent))


def _swap_folder(temporary: Path, target: Path) -> None:
    if not target.exists():
        os.rename(temporary, target)
        return
    aside = aside_of(target)
    try:
        os.rename(target, aside)
        os.rename(temporary, target)
    finally:
        if aside.exists() and not target.exists():
            os.rename(aside, target)
        shutil.rmtree(aside, ignore_errors=True)
