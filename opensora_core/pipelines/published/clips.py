"""Videos of any length from a release that makes clips: each further clip is given the end of the one before."""

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


def plan_clips(
    release: Release, existing: int, num_frames: int, clip_frames: int, condition_frames: int | None = None
) -> list[Clip]:
    """Cut the generation of `num_frames`, of which some exist, into clips of clip_frames; frames too many are left out.

    A video that fits into one clip is one that long, rounded up to what the release makes. condition_frames: how many
    of the last frames each clip is given, by default the release's; fewer of a video that has fewer. Official
    configurations speak of latent frames; here they are frames of the video.
    Raises InvalidInputError where the release can be given none, or a clip would have no room for new frames.
    """
    missing, room = num_frames - existing, release.whole_clip(clip_frames)
    if (existing or missing > room) and not release.condition_frames:
        raise InvalidInputError(
            f"{release.name} continues nothing: it makes clips of up to {room} frames from text alone"
        )
    overlap = _overlap(release, condition_frames)
    given = release.whole_condition(min(existing, overlap)) if existing else 0
    length = min(room, release.whole_clip(given + missing))
    if length < given + missing:
        _check_joins(release, length, overlap)
    clips = [Clip(0, length, given)]
    made = length - given
    while made < missing:
        clips.append(Clip(len(clips), length, overlap))
        made += length - overlap
    return clips


def _overlap(release: Release, condition_frames: int | None) -> int:
    """How many frames a clip is given, which must be whole latent frames, and whole chunks."""
    if condition_frames is None:
        return release.condition_frames
    wanted = whole("condition_frames", condition_frames, 1)
    legal = release.whole_condition(max(wanted, release.chunk))
    if legal != wanted:
        raise InvalidInputError(
            f"condition_frames={wanted}: the autoencoder of {release.name} cannot begin a clip with so many frames; "
            f"nearest: {legal}"
        )
    return wanted


def _check_joins(release: Release, length: int, overlap: int) -> None:
    """A clip that is continued must be whole chunks, and longer than what the next one is given of it."""
    if overlap >= length:
        raise InvalidInputError(f"condition_frames={overlap} must be below the {length} frames of a clip")
    if length % release.chunk:
        nearest = max(1, round(length / release.chunk)) * release.chunk
        raise InvalidInputError(
            f"clip_frames={length}: clips of {release.name} that are continued have a multiple of {release.chunk} "
            f"frames; nearest: {nearest}"
        )
