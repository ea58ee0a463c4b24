"""Old pickles (.pth, .pt, .bin, .ckpt), read in a process of their own and only when asked for."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import FileFormatError, InvalidInputError, MissingDependencyError

PICKLES = (".pth", ".pt", ".bin", ".ckpt")
MINUTES = 60


@contextmanager
def unpickled(pickles: Sequence[Path]) -> Iterator[list[Path]]:
    """A safetensors file with the weights of each pickle, for as long as the context lasts.

    A pickle is read by Torch with `weights_only`, in an isolated Python without an environment of its own.
    Raises InvalidInputError without the file, MissingDependencyError without Torch, FileFormatError for what is no
    state dict.
    """
    if missing := [path for path in pickles if not path.is_file()]:
        raise InvalidInputError(f"cannot read {missing[0]}: there is no such file")
    with tempfile.TemporaryDirectory(prefix="opensora-convert-") as folder:
        targets = [Path(folder) / f"{number}.safetensors" for number, _ in enumerate(pickles)]
        for path, target in zip(pickles, targets, strict=True):
            _unpickle(path, target)
        yield targets


def _unpickle(path: Path, target: Path) -> None:
    command = [sys.executable, "-I", str(_reader()), str(path.resolve()), str(target)]
    done = subprocess.run(
        command, cwd=target.parent, env={}, capture_output=True, text=True, timeout=MINUTES * 60, check=False
    )
    if done.returncode or not target.exists():
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FileFormatError(f"{path} cannot be read as a state dict of tensors: {reason:.400}")


def _reader() -> Path:
    """The program that reads pickles; it is not imported here, for that would import Torch."""
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError("reading a pickle needs Torch: pip install 'opensora-core[torch]'")
    backends = importlib.util.find_spec("opensora_backends")
    if backends is None or backends.origin is None:
        raise MissingDependencyError("reading a pickle needs the package opensora_backends of this library")
    return Path(backends.origin).parent / "torch_unpickle.py"
