"""Latents in a file, written before they are decoded, so that a decoding that fails loses nothing."""

from __future__ import annotations

import json
import secrets
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CancelledError, LimitError, OpenSoraError, is_out_of_memory
from ...serialization.trial import check_writable
from ...serialization.writer import write_safetensors
from ..frames import Frames

RECORD = "video"  # the key of the file's metadata that says of what they are the latents
PICTURE = "picture"  # the latents of the picture that t2i2v makes first
SHOWN = "shown"  # the frames [T, H, W, 3] that a continued video begins with


class KeptLatents:
    """The latents of one generation: those of each clip as clip0, clip1, ..., of a picture made first as picture.

    path: of the file; None writes one into the system's folder for temporary files and removes it when all is decoded.
    record: what `decode_latents` needs to know beside them, as JSON. shown: frames that the video begins with.
    Raises InvalidInputError for a path that cannot be written.
    """

    def __init__(self, path: str | Path | None, record: Callable[[], Mapping[str, Any]], shown: Frames) -> None:
        self.is_temporary = path is None
        self.path = _temporary() if path is None else Path(path)
        check_writable(self.path)
        self.record = record
        self.tensors: dict[str, NDArray[Any]] = {SHOWN: shown} if len(shown) else {}
        self.is_written = False

    def add(self, name: str, latents: NDArray[np.float32]) -> None:
        """Write them with all that came before; a full disk is a warning, as they can still be decoded."""
        self.tensors[name] = latents
        try:
            write_safetensors(self.path, self.tensors, {RECORD: json.dumps(self.record())})
            self.is_written = True
        except LimitError as error:
            warnings.warn(f"the latents are not kept: {error}", RuntimeWarning, stacklevel=2)

    def __enter__(self) -> KeptLatents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise what went wrong with the place of the latents; a temporary file goes when nothing did."""
        if not self.is_written:
            return
        if self.is_temporary and (error is None or isinstance(error, GeneratorExit | CancelledError)):
            self.path.unlink(missing_ok=True)
            return
        if error is None or isinstance(error, GeneratorExit):
            return
        where = self._where()
        if isinstance(error, Exception) and is_out_of_memory(error):
            first = str(error).partition("\n")[0] or type(error).__name__
            raise LimitError(f"the generation does not fit into memory ({first}); {where}") from error
        if isinstance(error, OpenSoraError):
            raise type(error)(f"{error}; {where}") from error
        error.add_note(where)

    def _where(self) -> str:
        """The file, and what can be made of it."""
        if "clip0" in self.tensors:
            return kept_in(self.path)
        return (
            f"the latents of the picture that t2i2v makes first are kept in {self.path}, but no clip was finished, "
            "so `opensora decode` can make no video of them: generate again"
        )


def _temporary() -> Path:
    """A name that nobody else has."""
    return Path(tempfile.gettempdir()) / f"opensora-latents-{secrets.token_hex(8)}.safetensors"


def kept_in(path: Path) -> str:
    """Where the latents of whole clips are, and what can be made of them."""
    return f"the latents are kept in {path}: `opensora decode` makes the video of them"
