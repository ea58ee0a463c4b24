"""The options of videos made from published weights, each declared once; the embedded model knows none of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from ..errors import InvalidInputError
from .options import Option

PANEL = "Published weights"


@dataclass(frozen=True)
class PublishedOptions:
    """Options that a generation takes by their names here."""

    def settings(self) -> dict[str, Any]:
        """As `PublishedOpenSora.stream` takes them, without those that are not given."""
        return _given(asdict(self))


@dataclass(frozen=True)
class NamedSize(PublishedOptions):
    """The size of the video by its official name."""

    resolution: Annotated[
        str | None, Option(help="Such as 480p; of v2.0 768px. In place of height and width.", rich_help_panel=PANEL)
    ] = None
    aspect_ratio: Annotated[
        str | None, Option(help="Beside a resolution, width first: 16:9.", rich_help_panel=PANEL)
    ] = None


@dataclass(frozen=True)
class ClipOptions(PublishedOptions):
    """How a video longer than a clip is made, and where its latents are kept."""

    clip_frames: Annotated[int | None, Option(min=1, help="Of each clip of a longer video.", rich_help_panel=PANEL)] = (
        None
    )
    condition_frames: Annotated[
        int | None, Option(min=1, help="How many of the last frames the model sees.", rich_help_panel="Video")
    ] = None
    condition_frame_edit: Annotated[
        float | None, Option(help="How much they may change, 0 to 1 (v1.1, v1.2).", rich_help_panel=PANEL)
    ] = None
    latents_file: Annotated[
        Path | None, Option(help="Keep the latents in this file, for `opensora decode`.", rich_help_panel=PANEL)
    ] = None


@dataclass(frozen=True)
class ScoreOptions:
    """What the prompt says of the video beside its text."""

    aesthetic_score: Annotated[
        str | None, Option(help="How beautiful, 6.5 by default (v1.2, v1.3), or off.", rich_help_panel=PANEL)
    ] = None
    motion_score: Annotated[
        str | None, Option(help="How much moves (v1.2, v1.3, v2.0), or off.", rich_help_panel=PANEL)
    ] = None
    camera_motion: Annotated[str | None, Option(help="Such as 'pan left' (v1.2).", rich_help_panel=PANEL)] = None

    def settings(self) -> dict[str, Any]:
        """As `PublishedOpenSora.stream` takes them, without those that are not given."""
        scores = {"aesthetic_score": _score(self.aesthetic_score), "motion_score": _score(self.motion_score)}
        return _given({**asdict(self), **scores})


@dataclass(frozen=True)
class ReferenceOptions(PublishedOptions):
    """Images and videos that the video is given, and where they go."""

    references: Annotated[
        list[Path] | None, Option("--reference", help="Image or video to be given (repeat).", rich_help_panel=PANEL)
    ] = None
    mask_strategy: Annotated[
        str | None, Option(help="Where references go, such as 0;0,1,0,-1,1 (v1.1, v1.2).", rich_help_panel=PANEL)
    ] = None
    cond_type: Annotated[
        str | None,
        Option(help="Where references go, such as i2v_loop; t2i2v: an image model first.", rich_help_panel=PANEL),
    ] = None
    image_resolution: Annotated[
        str | None, Option(help="Of the picture that t2i2v makes: 768px.", rich_help_panel=PANEL)
    ] = None


@dataclass(frozen=True)
class SamplerOptions:
    """How the release samples, where it is not to be as officially."""

    sampler: Annotated[
        str | None,
        Option(help="v1.0, v1.1: iddpm (the default), ddim or dpm-solver++; others: rflow.", rich_help_panel=PANEL),
    ] = None
    image_guidance_scale: Annotated[
        float | None, Option(help="How closely to follow given frames (v1.3, v2.0).", rich_help_panel=PANEL)
    ] = None
    sampler_options: Annotated[
        list[str] | None,
        Option(
            "--sampler-option",
            help="NAME=VALUE of the release's sampler, such as eta=0.5 or use_sdedit=true (repeat).",
            rich_help_panel=PANEL,
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        """As `PublishedOpenSora.stream` takes them, without those that are not given."""
        values = asdict(self)
        return _given(dict(map(_option, values.pop("sampler_options") or [])) | values)


def _option(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON has it: a number, true, false or null."""
    name, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        return name, json.loads(value)
    except ValueError:
        raise InvalidInputError(
            f"--sampler-option {text!r} must be NAME=VALUE with a number, true, false or null, such as eta=0.5"
        ) from None


def _score(text: str | None) -> float | str | None:
    """A number as such; other text for the release to refuse, but for "off"."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
