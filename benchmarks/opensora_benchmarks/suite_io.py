"""The suite "io": safetensors files and videos, written and read. No backend takes part: numpy stands for this library.

plain-numpy is the safetensors package itself. Files lie in the folder for temporary ones, and are likely in the
system's memory when they are read.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from opensora_core.media import Video, read_video
from opensora_core.serialization.reader import read_safetensors
from opensora_core.serialization.writer import write_safetensors

from .gate import RefusedError
from .providers import Provider, UnsupportedError
from .workload import Job, Workload

LEAST_PSNR = 25.0  # in dB, of a video read back
TENSORS = {"small": (8, 256), "large": (32, 1152)}  # how many square matrices of which side
VIDEOS = {"small": (17, 64, 64), "240p": (51, 240, 432)}


def io_workloads() -> Iterator[Workload]:
    """All of them."""
    for name, (count, side) in TENSORS.items():
        shape = {"tensors": count, "MiB": round(4 * count * side**2 / 2**20, 1)}
        for writes in (True, False):
            title = f"safetensors-{'write' if writes else 'read'}-{name}"
            yield Workload("io", title, "io", _open_tensors(count, side, writes), name == "small", shape)
    for name, size in VIDEOS.items():
        shape = {"frames": size[0], "size": f"{size[1]}x{size[2]}"}
        for writes in (True, False):
            title = f"mp4-{'encode' if writes else 'decode'}-{name}"
            yield Workload("io", title, "io", _open_video(size, writes), name == "small", shape)


def open_video(provider: Provider, size: tuple[int, int, int], writes: bool = True) -> Job:
    """A video of frames, height and width, written or read. Raises UnsupportedError for all but numpy."""
    _only(provider, "numpy")
    return VideoJob(size, writes)


def smooth_frames(rng: np.random.Generator, frames: int, height: int, width: int) -> Any:
    """Frames [T, H, W, 3] of waves that move."""
    t, y, x = np.ogrid[:frames, :height, :width]
    waves = [np.sin(a * x / width + b * y / height + c * t / frames) for a, b, c in rng.uniform(1, 9, (3, 3))]
    return ((np.stack(waves, axis=-1) + 1) * 127.5).astype(np.uint8)


class FileJob:
    """Something that is written to a file, or read from it, in a folder that goes with the job."""

    flops = 0

    def __init__(self, size: int, writes: bool) -> None:
        folder = tempfile.mkdtemp(prefix="opensora-bench-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.bytes, self._writes, self._folder, self._number = size, writes, Path(folder), 0
        self._content: Any = None

    def prepare(self, rng: np.random.Generator) -> None:
        """Draw what goes into a file of another name, and write it if it is to be read."""
        self._path.unlink(missing_ok=True)
        self._number += 1
        self._content = self.draw(rng)
        if not self._writes:
            self.write(self._path, self._content)

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._number}{self.suffix}"

    def call(self) -> Any:
        """Write or read it."""
        return self.write(self._path, self._content) if self._writes else self.read(self._path)

    def check(self, result: Any) -> float:
        """Compare what is read back with what was written."""
        return self.compare(self._content, self.read(self._path) if self._writes else result)

    suffix = ""

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw the content."""
        raise NotImplementedError

    write: Callable[[Path, Any], Any]
    read: Callable[[Path], Any]

    def compare(self, content: Any, back: Any) -> float:
        """Distance over the allowed one. Raises RefusedError."""
        raise NotImplementedError


class TensorsJob(FileJob):
    """float32 matrices, which must come back bit for bit."""

    suffix = ".safetensors"

    def __init__(self, count: int, side: int, writes: bool, write: Any, read: Any) -> None:
        super().__init__(4 * count * side**2, writes)
        self._shape, self.write, self.read = (count, side, side), write, read

    def draw(self, rng: np.random.Generator) -> Mapping[str, Any]:
        """Matrices of normal numbers."""
        return {f"weight{i}": x for i, x in enumerate(rng.standard_normal(self._shape, np.float32))}

    def compare(self, content: Any, back: Any) -> float:
        """They are the same bits."""
        if content.keys() != back.keys() or any(x.tobytes() != back[name].tobytes() for name, x in content.items()):
            raise RefusedError("what was read is not what was written")
        return 0.0


class VideoJob(FileJob):
    """A video in H.264, which must come back nearly as it was."""

    suffix = ".mp4"

    def __init__(self, size: tuple[int, int, int], writes: bool) -> None:
        super().__init__(int(np.prod(size)) * 3, writes)
        self._size, self.write, self.read = size, lambda path, video: video.save(path), read_video

    def draw(self, rng: np.random.Generator) -> Video:
        """Waves."""
        return Video(smooth_frames(rng, *self._size), 8.0)

    def compare(self, content: Video, back: Video) -> float:
        """They are alike."""
        if back.shape != content.shape or (found := content.psnr(back)) < LEAST_PSNR:
            raise RefusedError(f"a video of shape {content.shape} came back as another, of shape {back.shape}")
        return LEAST_PSNR / found


def _only(provider: Provider, *names: str) -> None:
    if provider.name not in names:
        raise UnsupportedError(f"it takes no part in files; {' and '.join(names)} can")


def _open_video(size: tuple[int, int, int], writes: bool) -> Callable[[Provider, str], Job]:
    return lambda provider, dtype: open_video(provider, size, writes)


def _open_tensors(count: int, side: int, writes: bool) -> Callable[[Provider, str], Job]:
    def opened(provider: Provider, dtype: str) -> Job:
        _only(provider, "numpy", "plain-numpy")
        if provider.name == "numpy":
            return TensorsJob(count, side, writes, write_safetensors, read_safetensors)
        from safetensors.numpy import load_file, save_file

        return TensorsJob(count, side, writes, lambda path, tensors: save_file(dict(tensors), path), load_file)

    return opened
