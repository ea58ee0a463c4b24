"""Whether a file or a folder could be written, found out before what goes into it is computed."""

from __future__ import annotations

import contextlib

from .atomic import StrPath, atomic_file, atomic_folder


class _TrialError(Exception):
    """Leaves the trial without writing anything."""


def check_writable(path: StrPath, *, overwrite: bool = True, folder: bool = False) -> None:
    """Create the temporary sibling that writing will create, and remove it; errors as of `atomic_file`."""
    with contextlib.suppress(_TrialError), (atomic_folder if folder else atomic_file)(path, overwrite=overwrite):
        raise _TrialError
