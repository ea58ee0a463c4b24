"""One generation by a published release, worked out and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...dit.mmdit_config import MMDiTConfig
from ...errors import InvalidInputError
from ...media.video import Video
from ...releases.release import CELL, PICTURE_FIRST
from ..frames import Frames
from ..inputs import beginning
from .clips import Clip, plan_clips
from .components import ReleaseFiles, without_weights
from .conditions import Conditions, read_conditions
from .ignored import check_image_resolution
from .picture import Picture
from .references import Placement
from .request import PublishedRequest
from .text import worded


@dataclass(frozen=True)
class Job:
    """A request with its clips: what each of them shows and is given. shown [T, H, W, 3]: what is there already.

    picture: what is made before all clips, to begin the first one; its text is the last of the prompts.
    """

    request: PublishedRequest
    clips: list[Clip]
    prompts: list[str]
    conditions: Conditions
    shown: Frames
    picture: Picture | None = None

    @classmethod
    def create(
        cls,
        files: ReleaseFiles,
        prompt: str,
        placement: Placement,
        video: Video | None,
        condition_frames: int | None,
        asked: Mapping[str, Any],
    ) -> Job:
        """From a prompt and from options that are said. InvalidInputError for what the release does not make."""
        release, gives_frames = files.release, video is not None or len(placement.sources) > 0
        request = PublishedRequest.create(release, gives_frames=gives_frames, **asked)
        shown = beginning(None, video, _decoded_size(files, request))
        clips = plan_clips(release, len(shown), request.num_frames, request.clip_frames, condition_frames)
        prompts, picture = worded(release, prompt, request.scores, len(clips)), None
        if release.picture_first and placement.cond_type == PICTURE_FIRST:
            picture = Picture.create(files, prompt, placement, request)
            prompts.append(picture.prompt)
            blank = np.zeros((request.height, request.width, 3), np.uint8)  # until it is painted
            placement = Placement([blank], placement.groups, "i2v_head")
        conditions = read_conditions(release, clips, placement, request)
        check_image_resolution(request.image_resolution, paints=picture is not None)
        if any(conditions.needed(clip) for clip in clips):
            _check_takes_frames(files, request)
        return cls(request, clips, prompts, conditions, shown, picture)

    @property
    def total(self) -> int:
        """Steps of the samplers, all together."""
        return (len(self.clips) + (self.picture is not None)) * self.request.num_inference_steps

    def record(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What makes a video of latents, as JSON; settings: the video's metadata."""
        clips = [(clip.num_frames, clip.given) for clip in self.clips]
        release, request = settings["release"], self.request
        return {
            "release": release,
            "num_frames": request.num_frames,
            "fps": request.fps,
            "clips": clips,
            "settings": settings,
        }


def _check_takes_frames(files: ReleaseFiles, request: PublishedRequest) -> None:
    """InvalidInputError where the sampler or the denoiser makes a clip from text alone."""
    if not request.sample.keeps_frames:
        raise InvalidInputError(
            f"sampler={request.sample.sampler!r} makes one clip from text alone; frames are given to, and clips of "
            f"a longer video are continued by, sampler={files.release.sample.sampler!r}"
        )
    config = files.denoiser_config
    if isinstance(config, MMDiTConfig) and not config.cond_embed:
        raise InvalidInputError(
            f"{files.denoiser.path} makes one clip from text alone: the layer cond_in, which reads given frames and "
            "the end of the clip before, is missing; take a denoiser that has it, or give no frames and ask for one "
            f"clip, of up to {request.clip_frames} frames"
        )


def _decoded_size(files: ReleaseFiles, request: PublishedRequest) -> PublishedRequest:
    """The request with the size that the autoencoder gives back: 424 pixels of 426, as officially."""
    _, _, h, w = without_weights(files.autoencoder).latent_shape(1, request.height, request.width)
    return replace(request, height=h * CELL, width=w * CELL)
