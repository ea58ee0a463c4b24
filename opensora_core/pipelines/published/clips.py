"""Videos of any length from a release that makes clips: each further clip is given the last frames of what exists."""

from __future__ import annotations

from dataclasses import dataclass

from ...checks import whole
from ...errors import InvalidInputError
from ...releases.release import Release


@dataclass(frozen=True)
class Clip:
    """One run of the sampler: it makes `num_frames`, of which the first `given` are already there."""

    index: int
    num_frames: int
    given: int


def plan_clips(release: Release, existing: int, num_frames: int, condition_frames: int | None = None) -> list[Clip]:
    """Cut the generation of `num_frames`, of which some exist, into clips of the release's length at most.

    condition_frames: how many of the last frames each clip is given, by default the release's; fewer if fewer exist.
    Official configurations speak of latent frames; here they are frames of the video.
    Raises InvalidInputError where the release can be given none, or a clip would have no room for new frames.
    """
    wanted = release.condition_frames if condition_frames is None else whole("condition_frames", condition_frames, 1)
    if wanted >= release.num_frames > 1:
        raise InvalidInputError(
            f"condition_frames={wanted} must be below the {release.num_frames} frames of a clip of {release.name}"
        )
    clips: list[Clip] = []
    while existing < num_frames:
        given = min(existing, wanted)
        if existing and not given:
            raise InvalidInputError(
                f"{release.name} continues nothing: it makes clips of up to {release.num_frames} frames from text alone"
            )
        clip = Clip(len(clips), min(release.num_frames, given + num_frames - existing), given)
        clips.append(clip)
        existing += clip.num_frames - given
    return clips
