"""The files that a stage learns from, with their captions: of a folder, or of a CSV or Parquet manifest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import FileFormatError, InvalidInputError, LimitError
from ...media import probe_video
from .manifest import MANIFESTS, read_rows
from .skipped import Skipped

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".ogv", ".gif")
CAPTION_BYTES = 2**16

UNREADABLE = (FileFormatError, InvalidInputError, LimitError)
"""What reading raises for a file that is broken, gone or beyond the limits: the file is skipped, the run goes on."""


@dataclass(frozen=True)
class Sample:
    """A video, or with one frame a picture. num_frames, height, width, fps are of the file; 0 is unknown."""

    name: str  # relative to the folder of the data: stays when that moves
    path: Path
    text: str
    num_frames: int = 0
    height: int = 0
    width: int = 0
    fps: float = 0.0

    @property
    def is_measured(self) -> bool:
        """Whether all is known that sorting into buckets needs."""
        return min(self.num_frames, self.height, self.width) > 0 and (self.fps > 0 or self.num_frames == 1)


def read_samples(data: str | Path, skipped: Skipped) -> list[Sample]:
    """All usable files of a folder or manifest, in the order of their names or rows; the others go to `skipped`.

    A folder holds one manifest, or videos and pictures, in folders of their own too, each with a caption in a text file
    of the same name: clip.mp4 and clip.txt. What a manifest does not say of a file is read from the file.

    Raises InvalidInputError for data that is missing, damaged, or without a single usable file.
    """
    path = Path(data)
    if not path.exists():
        raise InvalidInputError(f"data={str(data)!r} does not exist; paths count from {Path.cwd()}")
    manifests = sorted(p for p in path.iterdir() if p.suffix.lower() in MANIFESTS) if path.is_dir() else [path]
    if len(manifests) > 1:
        raise InvalidInputError(f"{path} holds {len(manifests)} manifests; name one: data = {str(manifests[0])!r}")
    found = _of_manifest(manifests[0], skipped) if manifests else _of_folder(path, skipped)
    samples = [measured for sample in found if (measured := _measured(sample, skipped)) is not None]
    if not samples:
        reason = skipped.summary() or _EXPECTED
        raise InvalidInputError(f"data={str(data)!r} holds no usable video or picture. {reason}")
    return samples


_EXPECTED = "Expected files such as clip.mp4 with a caption in clip.txt, or a manifest with the columns path and text"


def _of_folder(folder: Path, skipped: Skipped) -> list[Sample]:
    samples = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in (*VIDEOS, *PICTURES) and p.is_file()):
        name = path.relative_to(folder).as_posix()
        if text := _caption(path, skipped):
            samples.append(Sample(name, path, text))
    return samples


def _caption(path: Path, skipped: Skipped) -> str:
    sidecar = path.with_suffix(".txt")
    try:
        with sidecar.open(encoding="utf-8-sig") as file:
            text = file.read(CAPTION_BYTES).strip()
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        skipped.add(path, f"its caption {sidecar.name} cannot be read: {error}")
        return ""
    if not text:
        skipped.add(path, f"no caption: write one into {sidecar.name}")
    return text


def _of_manifest(path: Path, skipped: Skipped) -> list[Sample]:
    samples = []
    for number, row in enumerate(read_rows(path), 1):
        name = row.path or f"row {number}"
        if not row.path or not row.text:
            skipped.add(name, f"no {'caption' if row.path else 'path'} in row {number} of {path.name}")
            continue
        samples.append(Sample(name, path.parent / row.path, row.text, row.num_frames, row.height, row.width, row.fps))
    return samples


def _measured(sample: Sample, skipped: Skipped) -> Sample | None:
    if sample.is_measured:
        return sample
    try:
        info = probe_video(sample.path)
    except UNREADABLE as error:
        skipped.add(sample.path, str(error))
        return None
    return replace(sample, num_frames=info.num_frames, height=info.height, width=info.width, fps=info.fps)
