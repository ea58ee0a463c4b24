"""One request to a published release, checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ...checks import number, one_of, whole
from ...conditioning.sizes import PIXELS_V2
from ...errors import InvalidInputError
from ...releases.release import RELEASES, Release
from ...releases.sampler import Sampler
from ...releases.sampling_v2 import MMDiTSampler
from ...releases.task import Task
from ...releases.wording import Scores
from ..config import WHOLE
from ..request import filled, seed_of, step_cache_of, without_defaults
from .clips import Clip
from .ignored import check_image_guidance, check_takes, takes

NUMERIC = ("num_frames", "height", "width", "fps", "num_inference_steps", "guidance_scale", "image_guidance_scale")
SCORES = {"aesthetic_score": (0.0, 10.0), "motion_score": (0.0, 1000.0)}
SAMPLER_OPTIONS = tuple(dict.fromkeys(field.name for release in RELEASES.values() for field in fields(release.sample)))
"""What some release's sampler may be told, by name; each knows some of them."""


@dataclass(frozen=True)
class PublishedRequest:
    """What to generate: frames, pixels, frame rate, sampler settings, scores and the seed (0 is a seed).

    clip_frames: of one clip of a longer video. condition_frame_edit: time in 0 to 1 from which on the frames that a
    clip is given of the one before change; 0 keeps them. image_resolution: of the picture of t2i2v. step_cache: the
    blocks are computed in every so many steps only (`StepCache`); 1 computes all. Scores are None where the release has
    none, or none is said. sample: the release's sampler, with what it was told.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    num_inference_steps: int
    guidance_scale: float
    image_guidance_scale: float
    seed: int
    clip_frames: int
    condition_frame_edit: float
    step_cache: int
    aesthetic_score: float | None
    motion_score: float | None
    camera_motion: str | None
    image_resolution: str | None
    sample: Sampler

    @classmethod
    def create(cls, release: Release, *, gives_frames: bool = False, **asked: Any) -> PublishedRequest:
        """Fill what was not asked (None) from the release's defaults and check every name and value.

        resolution and aspect_ratio stand for height and width. gives_frames: whether the video is given frames.
        Raises InvalidInputError with the legal range or the nearest legal size.
        """
        own = (field.name for field in fields(cls) if field.name != "sample")
        if unknown := sorted(set(asked) - {*own, "resolution", "aspect_ratio", *SAMPLER_OPTIONS}):
            known = ", ".join(_options_of(release))
            raise InvalidInputError(f"unknown options {unknown}; those of {release.name}: {known}")
        asked = _sized(release, {name: value for name, value in asked.items() if value is not None})
        values = filled(release, NUMERIC, asked)
        release.check_size(values["height"], values["width"])
        check_image_guidance(asked)
        values |= {
            "condition_frame_edit": number("condition_frame_edit", asked.get("condition_frame_edit", 0.0), 0.0, 1.0),
            "image_resolution": _image_resolution(asked),
            "step_cache": step_cache_of(asked),
        }
        check_takes(release, values | asked)
        clip_frames = asked.get("clip_frames", release.num_frames)
        told = {name: value for name, value in asked.items() if name in SAMPLER_OPTIONS}
        sample = release.sample.changed(release.name, told)
        whole("num_inference_steps", values["num_inference_steps"], sample.least_steps)
        return cls(
            **values,
            seed=seed_of(asked),
            clip_frames=whole("clip_frames", clip_frames, *WHOLE["num_frames"]),
            sample=sample,
            **_scores(release, asked, gives_frames),
        )

    @property
    def needs_negative(self) -> bool:
        """Whether a negative prompt must be there: v2.0 has no null caption to be guided away from."""
        return isinstance(self.sample, MMDiTSampler) and self.sample.sampler != "distilled"

    @property
    def scores(self) -> Scores:
        """What is said in the prompt."""
        return Scores(self.aesthetic_score, self.motion_score, self.camera_motion, self.fps)

    def task(self, shape: tuple[int, int, int, int], clip: Clip) -> Task:
        """What the sampler of one clip works on."""
        return Task(
            shape,
            clip.num_frames,
            self.height,
            self.width,
            self.fps,
            self.num_inference_steps,
            self.guidance_scale,
            self.seed,
            self.image_guidance_scale,
            clip.index,
        )

    def settings(self) -> dict[str, Any]:
        """As recorded on the result."""
        own = {name: value for name, value in vars(self).items() if name != "sample"}
        return without_defaults(own | vars(self.sample))


def _options_of(release: Release) -> Iterator[str]:
    """Names of the options that a release knows."""
    unread = {*SCORES, "camera_motion"} - set(release.scores)
    own = (field.name for field in fields(PublishedRequest) if field.name != "sample")
    yield from (name for name in own if name not in unread and takes(release, name))
    yield from ("resolution", "aspect_ratio", *(field.name for field in fields(release.sample)))


def _sized(release: Release, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Options with height and width in the place of resolution and aspect_ratio."""
    names = {name: asked[name] for name in ("resolution", "aspect_ratio") if name in asked}
    rest = {name: value for name, value in asked.items() if name not in names}
    if not names:
        return rest
    if "height" in rest or "width" in rest:
        raise InvalidInputError(f"{' and '.join(names)} and height or width both say the size; give one of them")
    height, width = release.size(names.get("resolution"), names.get("aspect_ratio"))
    return {**rest, "height": height, "width": width}


def _scores(release: Release, asked: Mapping[str, Any], gives_frames: bool) -> dict[str, Any]:
    """Scores of the release, by option; InvalidInputError for one that it does not read."""
    names = (*SCORES, "camera_motion")
    if unread := [name for name in names if name in asked and name not in release.scores]:
        reads = ", ".join(release.scores) or "no scores"
        raise InvalidInputError(f"{unread[0]} is nothing that {release.name} reads in a prompt; it reads {reads}")
    values = {name: asked.get(name, release.scores.get(name)) for name in names}
    if gives_frames and "aesthetic_score" in release.scores and "aesthetic_score" not in asked:
        values["aesthetic_score"] = release.aesthetic_given
    values = {name: None if value == "off" else value for name, value in values.items()}
    for name, bounds in SCORES.items():
        values[name] = None if values[name] is None else number(name, values[name], *bounds)
    if not isinstance(values["camera_motion"], str | None):
        raise InvalidInputError(f'camera_motion={values["camera_motion"]!r} must be text, such as "pan left"')
    return values


def _image_resolution(asked: Mapping[str, Any]) -> str | None:
    name = asked.get("image_resolution")
    return None if name is None else one_of("image_resolution", name, tuple(PIXELS_V2))
