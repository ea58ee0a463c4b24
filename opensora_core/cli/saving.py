"""Writing what was generated: refused at once where it could not be written, and whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError

if TYPE_CHECKING:
    from ..media.video import Video
    from ..pipelines.video_model import Wanted
    from .options import SavingOptions

COMFORTABLE = 256  # pixels of the longer side that a person likes to look at
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Target:
    """Where one video goes and how it is enlarged."""

    output: str
    scale: int
    contact_sheet: Path | None
    overwrite: bool

    def save(self, video: Video) -> None:
        """Write the file, and the contact sheet if it was asked for."""
        video.save(self.output, scale=self.scale, overwrite=self.overwrite)
        if self.contact_sheet is not None:
            save_picture(video.contact_sheet(), self.contact_sheet, self.overwrite)


def check_paths(saving: SavingOptions) -> None:
    """Refuse paths that cannot be written, before anything is computed."""
    from ..media.encode import suffix_of
    from ..serialization.trial import check_writable

    check_writable(saving.output, overwrite=saving.overwrite, folder=not suffix_of(saving.output))
    if saving.contact_sheet is not None:
        check_picture(saving.contact_sheet, saving.overwrite)


def refuse_same(source: Path, saving: SavingOptions) -> None:
    """Refuse to write over what is read: the original would be gone."""
    output = Path(saving.output)
    if output.exists() and source.exists() and output.samefile(source):
        raise InvalidInputError(f"{source} would be replaced by what is made of it: choose another name with --output")


def check_picture(path: Path, overwrite: bool = True) -> None:
    """Refuse a picture that could not be written."""
    from ..serialization.trial import check_writable

    if path.suffix.lower() not in PICTURES:
        raise InvalidInputError(f"cannot save a picture as {path.suffix!r} ({path}); choose {', '.join(PICTURES)}")
    check_writable(path, overwrite=overwrite)


def plan(saving: SavingOptions, request: Wanted | Video) -> Target:
    """Choose the scale, and refuse what the format cannot hold, before anything is computed."""
    import numpy as np

    from ..media.encode import check
    from ..media.video import Video

    scale = automatic_scale(request.height, request.width) if saving.scale is None else saving.scale
    frames = np.broadcast_to(np.uint8(0), (request.num_frames, request.height, request.width, 3))  # takes no memory
    check(Video(frames, request.fps), saving.output, scale=scale)
    return Target(saving.output, scale, saving.contact_sheet, saving.overwrite)


def automatic_scale(height: int, width: int) -> int:
    """How often to repeat each pixel for a comfortable size: 1 or an even number, which keeps colours crisp in mp4."""
    return min(64, max(1, 2 * round(COMFORTABLE / max(height, width) / 2)))


def save_picture(picture: Any, path: Path, overwrite: bool = True) -> None:
    """Write a Pillow image, whole or not at all."""
    from ..serialization.atomic import atomic_file

    with atomic_file(path, overwrite=overwrite) as temporary:
        picture.save(temporary)
