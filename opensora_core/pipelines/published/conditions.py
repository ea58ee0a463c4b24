"""What the sampler of each clip is given: references placed by a mask strategy, or frames by a condition type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import one_of
from ...conditioning.given_frames import Condition, beginning, condition, given_frames, references_of
from ...conditioning.mask_strategy import MaskGroup, continuation
from ...errors import InvalidInputError
from ...ops import Array, Ops
from ...releases.release import Release
from ...releases.task import References
from ...vae.pixels import from_frames
from ..frames import Frames
from .clips import Clip
from .coding import encode
from .references import Placement, read_references
from .request import PublishedRequest

Latents = tuple[int, int, int, int]
VideoArray = NDArray[np.float32]  # [1, 3, T, H, W] in [-1, 1]


class Conditions(ABC):
    """References of one video, and how its clips are given them and the clip before."""

    def __init__(self, release: Release, references: Sequence[Frames], seed: int) -> None:
        self.release, self.references, self.seed = release, references, seed

    def needed(self, clip: Clip) -> bool:
        """Whether anything is to be encoded for a clip."""
        return clip.given > 0 or (clip.index == 0 and len(self.references) > 0)

    @abstractmethod
    def of_clip(self, ops: Ops, vae: Any, clip: Clip, shape: Latents, before: VideoArray) -> Any:
        """What the sampler takes. shape (C, T, h, w): of the clip's latents. before: the clip before it, or a video."""

    def _encode(self, ops: Ops, vae: Any, video: VideoArray, what: str) -> Array:
        return encode(ops, vae, video, self.seed, what)


class PlacedReferences(Conditions):
    """v1.1, v1.2: a mask strategy places references; the whole clip before becomes one more of them."""

    def __init__(
        self, release: Release, references: Sequence[Frames], seed: int, groups: Sequence[MaskGroup], edit: float
    ) -> None:
        super().__init__(release, references, seed)
        self.groups, self.edit = list(groups), edit
        self.known: list[Array] = []  # latents [C, T', h, w]

    def of_clip(self, ops: Ops, vae: Any, clip: Clip, shape: Latents, before: VideoArray) -> References:
        """References with the groups of all clips, of which those of this one count."""
        if clip.index == 0:
            pictures = (from_frames(reference[None]) for reference in self.references)
            self.known = [self._encode(ops, vae, p, f"reference{i}")[0] for i, p in enumerate(pictures)]
        if clip.given:
            end = before[:, :, -self._whole(clip, before.shape[2]) :]
            self.known.append(self._encode(ops, vae, end, f"before{clip.index}")[0])
            length = vae.latent_frames(clip.given)
            self.groups.append(continuation(clip.index, len(self.known) - 1, length, self.edit))
        return References(self.known, self.groups, self.release.align)

    def _whole(self, clip: Clip, frames: int) -> int:
        """How much of what comes before is encoded: whole chunks to its end, no more than a clip has."""
        if clip.given < self.release.chunk:
            return clip.given
        return self.release.whole_condition(min(frames, clip.num_frames))


class TypedCondition(Conditions):
    """v1.3, v2.0: a condition type says which frames are given; further clips begin with the end of the one before."""

    def __init__(self, release: Release, references: Sequence[Frames], seed: int, kind: str) -> None:
        super().__init__(release, references, seed)
        self.kind = kind

    def of_clip(self, ops: Ops, vae: Any, clip: Clip, shape: Latents, before: VideoArray) -> Condition | None:
        """The frames as latents in their places; None for a single frame, which is never given any."""
        size = (1, *shape)
        if clip.given:
            latents = self._encode(ops, vae, before[:, :, -clip.given :], f"before{clip.index}")
            return beginning(ops, "v2v_head", latents, size)
        types = dict(self.release.types)
        count = len(given_frames(self.kind, shape[1], types))
        if not count:
            return None
        frames = 1 if self.kind.startswith("i2v") else _frames_of(vae, count)
        cut = (from_frames(self._cut(reference, frames)[None]) for reference in self.references)
        rows = [self._encode(ops, vae, video, f"reference{i}")[0] for i, video in enumerate(cut)]
        return condition(ops, self.kind, [rows], size, types)

    def _cut(self, reference: Frames, frames: int) -> Frames:
        """The frames of a reference that are given: its last ones to a tail, otherwise the first."""
        if len(reference) < frames:
            raise InvalidInputError(
                f"cond_type={self.kind!r} gives {frames} frames; the reference has {len(reference)}"
            )
        tail = self.kind.startswith("v2v_tail")
        return reference[-frames:] if tail else reference[:frames]


def _frames_of(vae: Any, latent_frames: int) -> int:
    """The fewest frames with so many latent frames: some are one more, where a window that overlaps begins (v1.3)."""
    frames: int = vae.frames_of(latent_frames)
    return frames if vae.latent_frames(frames) >= latent_frames else vae.frames_of(latent_frames + 1)


def read_conditions(
    release: Release, clips: Sequence[Clip], placement: Placement, request: PublishedRequest
) -> Conditions:
    """Check what is given against what the release takes, and read it. InvalidInputError says what that is."""
    references = read_references(placement.sources, request.height, request.width)
    groups, kind = placement.groups, placement.cond_type
    if release.given == "types":
        return TypedCondition(release, references, request.seed, _kind(release, clips, references, groups, kind))
    if release.given == "nothing" and (references or groups or kind):
        raise InvalidInputError(f"{release.name} makes videos from text alone; given frames take v1.1 or later")
    if kind is not None:
        raise InvalidInputError(
            f"cond_type={kind!r} is an option of v1.3 and v2.0; {release.name} takes references and mask_strategy"
        )
    if references and not groups:
        raise InvalidInputError(
            'references need a mask_strategy that says where they go, such as "0" for the first frame of the first one'
        )
    for group in groups:
        group.check_reference(len(references) + group.loop + (clips[0].given > 0))
    return PlacedReferences(release, references, request.seed, groups, request.condition_frame_edit)


def _kind(
    release: Release,
    clips: Sequence[Clip],
    references: Sequence[Frames],
    groups: Sequence[MaskGroup],
    cond_type: str | None,
) -> str:
    """The condition type, which must fit references and length."""
    known = ", ".join(release.condition_types)
    if groups:
        raise InvalidInputError(f"mask_strategy is an option of v1.1 and v1.2; {release.name} takes cond_type: {known}")
    kind = "t2v" if cond_type is None else cond_type
    one_of("cond_type", kind, release.condition_types)
    if clips[0].given and (references or kind != "t2v"):
        raise InvalidInputError("a video that is continued takes no other references")
    if references and clips[0].num_frames == 1:
        raise InvalidInputError(f"{release.name} is given nothing for a single frame; ask for more frames")
    if len(references) != references_of(kind):
        raise InvalidInputError(
            f"cond_type={kind!r} takes {references_of(kind)} references, got {len(references)}; known: {known}"
        )
    if len(clips) > 1 and ("tail" in kind or "loop" in kind):
        raise InvalidInputError(
            f"cond_type={kind!r} places frames at the end of one clip; ask for at most {clips[0].num_frames} frames"
        )
    return kind
