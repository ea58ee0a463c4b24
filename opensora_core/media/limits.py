"""How much a media file may ask of this machine before it is refused."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import InvalidInputError, LimitError


@dataclass(frozen=True)
class MediaLimits:
    """Caps on what is read, checked against the header before decoding and again while decoding, as headers lie.

    - `file_bytes`: size of the file.
    - `frame_pixels`: height × width of one picture; the default is 8192 × 8192.
    - `frames`, `seconds`: decoded from the beginning of the file up to the last frame asked for.
    - `total_bytes`: memory of the frames that are returned, height × width × 3 each.

    Raise one by `MediaLimits(seconds=3600)`.
    """

    file_bytes: int = 2 << 30
    frame_pixels: int = 8192 * 8192
    frames: int = 20_000
    seconds: float = 600.0
    total_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise InvalidInputError(f"MediaLimits({field.name}={getattr(self, field.name)!r}) must be above zero")

    def check_file(self, name: str, size: int) -> None:
        """Refuse a file of more than `file_bytes`."""
        if size > self.file_bytes:
            raise _beyond(name, f"is {size:,} bytes large", f"{self.file_bytes:,}", f"file_bytes={size}", "shorten it")

    def check_frame(self, name: str, height: int, width: int) -> None:
        """Refuse a picture of more than `frame_pixels`, before memory for it is allocated."""
        pixels = height * width
        if pixels > self.frame_pixels:
            found = f"has frames of {width}x{height} = {pixels:,} pixels"
            raise _beyond(name, found, f"{self.frame_pixels:,}", f"frame_pixels={pixels}", "scale it down")

    def check_length(self, name: str, frames: int, seconds: float) -> None:
        """Refuse more than `frames` or `seconds` of decoding."""
        remedy = "ask for fewer with num_frames="
        if frames > self.frames:
            raise _beyond(name, f"needs {frames:,} frames decoded", f"{self.frames:,}", f"frames={frames}", remedy)
        if seconds > self.seconds:
            found = f"needs {seconds:.6g} seconds decoded"
            raise _beyond(name, found, f"{self.seconds:.6g}", f"seconds={seconds:.6g}", remedy)

    def check_total(self, name: str, frames: int, height: int, width: int) -> None:
        """Refuse a clip whose frames take more than `total_bytes` together."""
        size = frames * height * width * 3
        if size > self.total_bytes:
            found = f"needs {size:,} bytes for {frames:,} frames of {width}x{height}"
            remedy = "ask for fewer with num_frames=, or scale it down"
            raise _beyond(name, found, f"{self.total_bytes:,}", f"total_bytes={size}", remedy)


def _beyond(name: str, found: str, limit: str, option: str, remedy: str) -> LimitError:
    return LimitError(f"{name} {found}; the limit is {limit}: {remedy}, or raise it with MediaLimits({option})")
