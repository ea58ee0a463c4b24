"""What a video is given: images and videos that users hand in, and where they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...conditioning.mask_strategy import MaskGroup, parse_mask_strategy
from ...conditioning.prompts import PromptParts, split_prompt
from ...errors import InvalidInputError
from ...media.images import fit, read_image
from ...media.video import Video
from ...releases.release import Release
from ..frames import Frames


@dataclass(frozen=True)
class Placement:
    """References as they were asked for, with the mask strategy or the condition type that places them."""

    sources: Sequence[Any]
    groups: list[MaskGroup]
    cond_type: str | None

    @classmethod
    def create(
        cls, release: Release, parts: PromptParts, image: Any, references: Any, strategy: str | None, kind: str | None
    ) -> Placement:
        """From a prompt's own parts and the options; an image is what the video begins with, unless they say more.

        Raises InvalidInputError where two of them name references, or two of them a strategy.
        """
        named = {"image": image, "references": references, "reference_path of the prompt": parts.reference_path or None}
        given = {name: source for name, source in named.items() if source is not None}
        if len(given) > 1:
            raise InvalidInputError(f"{' and '.join(given)} both say what the video is given; name all as references")
        if strategy and parts.mask_strategy:
            raise InvalidInputError("mask_strategy is said twice, as an option and in the prompt")
        if image is not None:
            given = {"image": [read_image(image)]}
            strategy = strategy or ("0" if release.given == "references" and not parts.mask_strategy else None)
            kind = kind or ("i2v_head" if release.given == "types" else None)
        sources = [source for value in given.values() for source in _listed(value)]
        return cls(sources, parse_mask_strategy(strategy or parts.mask_strategy), kind)


def read_placement(
    release: Release, prompt: str, image: Any, references: Any, strategy: str | None, kind: str | None
) -> tuple[PromptParts, Placement]:
    """The prompt without what stands at its end, of releases that read it there, and what the video is given."""
    parts = split_prompt(prompt) if release.given == "references" else PromptParts(prompt)
    return parts, Placement.create(release, parts, image, references, strategy, kind)


def record_of(image: Any, references: Any, strategy: str | None, kind: str | None) -> dict[str, Any]:
    """What the options say of given frames, as JSON: files by their paths, pixels that were handed in by their type."""
    sources = _listed(image if references is None else references)
    names = [str(source) if isinstance(source, str | Path) else type(source).__name__ for source in sources]
    said = {"references": names or None, "mask_strategy": strategy, "cond_type": kind}
    return {name: value for name, value in said.items() if value is not None}


def read_references(sources: Sequence[Any], height: int, width: int) -> list[Frames]:
    """References as uint8 [T, H, W, 3], scaled to cover the size and cropped around the centre.

    Each is the path of an image or a video, a Video, a PIL image, or uint8 pixels [H, W, 3] or [T, H, W, 3].
    """
    return [fit(_frames(source), height, width) for source in sources]


def _listed(references: Any) -> list[Any]:
    """A list of references, a single one or None; a text may hold several paths, separated by `;`, as officially."""
    if references is None:
        return []
    if isinstance(references, str):
        return [path.strip() for path in references.split(";") if path.strip()]
    single = not isinstance(references, Sequence) or isinstance(references, Video)
    return [references] if single else list(references)


def _frames(source: Any) -> Frames:
    if isinstance(source, Video):
        return source.frames
    if isinstance(source, str | Path):
        return Video.load(source).frames
    if isinstance(source, np.ndarray) and source.ndim == 4:
        return source
    if source is None:
        raise InvalidInputError("a reference must be a path, an image or a video, not None")
    return read_image(source)[None]
