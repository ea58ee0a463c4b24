"""Old pickles (.pth, .pt, .bin, .ckpt), read in a process of their own and only when asked for."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FileFormatError, InvalidInputError, MissingDependencyError

PICKLES = (".pth", ".pt", ".bin", ".ckpt")
MINUTES = 60


@contextmanager
def unpickled(path: Path) -> Iterator[Path]:
    """A safetensors file with the weights of a pickle, for as long as the context lasts.

    The pickle is read by Torch with `weights_only`, in an isolated Python without an environment of its own.
    Raises InvalidInputError without the file, MissingDependencyError without Torch, FileFormatError for what is no
    state dict.
    """
    if not path.is_file():
        raise InvalidInputError(f"cannot read {path}: there is no such file")
    reader = _reader()
    with tempfile.TemporaryDirectory(prefix="opensora-convert-") as folder:
        target = Path(folder) / "model.safetensors"
        command = [sys.executable, "-I", str(reader), str(path.resolve()), str(target)]
        done = subprocess.run(
            command, cwd=folder, env={}, capture_output=True, text=True, timeout=MINUTES * 60, check=False
        )
        if done.returncode or not target.exists():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise FileFormatError(f"{path} cannot be read as a state dict of tensors: {reason:.400}")
        yield target


def _reader() -> Path:
    """The program that reads pickles; it is not imported here, for that would import Torch."""
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError("reading a pickle needs Torch: pip install 'opensora-core[torch]'")
    backends = importlib.util.find_spec("opensora_backends")
    if backends is None or backends.origin is None:
        raise MissingDependencyError("reading a pickle needs the package opensora_backends of this library")
    return Path(backends.origin).parent / "torch_unpickle.py"
