"""A published release as a model: prompt, denoiser and autoencoder in turn, one of them in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import one_of
from ...conditioning.given_frames import Condition
from ...conditioning.prompts import PromptParts, split_prompt
from ...errors import InvalidInputError, memory_as_limit
from ...media.video import Video
from ...ops import Ops
from ...releases.offload import OFFLOAD_TYPES
from ...releases.task import Task, Text
from ...serialization.writer import write_safetensors
from ...vae.pixels import from_frames, to_frames
from ..inputs import beginning, check_prompt
from ..pretrained import backend_of
from ..streaming import Progress
from ..video_model import VideoModel
from .clips import Clip, plan_clips
from .coding import decode
from .components import ReleaseFiles, on_backend, without_weights
from .conditions import Conditions, read_conditions
from .references import Placement
from .request import PublishedRequest
from .text import read_texts, worded

CELL = 8  # pixels a side of a latent, of every release
Callback = Callable[["PublishedOpenSora", int, float, dict[str, Any]], Any]


class PublishedOpenSora(VideoModel):
    """Open-Sora v1.0 to v2.0 from its published weights, on any backend.

    Args:
        paths: the file or folder of the denoiser and, where they lie elsewhere, of autoencoder and text encoders.
        backend, device, dtype: see `get_backend`. Weights are read anew for every generation, each model when its turn
            comes, so that text encoder, denoiser and autoencoder are never in memory together.
        offload_type: "block_level" leaves the denoiser's blocks in their file and brings each when its turn comes, in
            every step: for a denoiser larger than memory. The numbers are the same. "none" brings all of it at once.
    """

    def __init__(
        self,
        *paths: str | Path,
        backend: str | Ops = "auto",
        device: str | None = None,
        dtype: str | None = None,
        offload_type: str = "none",
    ) -> None:
        self.offload_type = one_of("offload_type", offload_type, OFFLOAD_TYPES)
        self.files = ReleaseFiles(paths)
        self.ops = backend_of(backend, device, dtype)

    @property
    def metadata(self) -> dict[str, Any]:
        """The release, and of each of its models what `opensora info` says; reads no weights."""
        parts = [part.describe() for part in self.files.parts]
        return {
            "release": self.files.release.name,
            "parts": parts,
            "backend": self.ops.name,
            "device": self.ops.device,
            "dtype": self.ops.dtype,
            "offload_type": self.offload_type,
        }

    def request(self, **options: Any) -> PublishedRequest:
        """What a generation with these options makes, the release's defaults filled in."""
        return PublishedRequest.create(self.files.release, **options)

    def stream(
        self,
        prompt: str,
        *,
        image: Any = None,
        video: Video | None = None,
        references: Any = None,
        mask_strategy: str | None = None,
        cond_type: str | None = None,
        condition_frames: int | None = None,
        negative_prompt: str | None = None,
        prompt_embeds: Text | None = None,
        latents_file: str | Path | None = None,
        callback_on_step_end: Callback | None = None,
        **options: Any,
    ) -> Iterator[Progress | Video]:
        """Generate step by step: yields a Progress after every step and the finished Video at the end.

        Options, each with the release's own default: num_frames, height, width (pixels) or resolution ("240p") and
        aspect_ratio ("16:9", width first), fps, num_inference_steps, guidance_scale, image_guidance_scale (v1.3, v2.0),
        aesthetic_score, motion_score, camera_motion, clip_frames, condition_frame_edit, seed (drawn if absent, found in
        `video.metadata`).
        prompt: may be a schedule over the clips of a long video, `|0|a calm sea|2|a storm`, and for v1.1 and v1.2 end
        with JSON: {"reference_path": "a.png;b.mp4", "mask_strategy": "0"}.
        references: images and videos (see `read_references`); mask_strategy (v1.1, v1.2) or cond_type (v1.3, v2.0) says
        where they go. image: the one that the video begins with. Both come back as the autoencoder gives them.
        video: is continued, and stays as it is; condition_frames of its last frames are given to the model.
        prompt_embeds: features in place of a text encoder. latents_file: where the latents [1, C, T, h, w] of each
        clip are written before they are decoded, so that a decoding that runs out of memory loses nothing.
        callback_on_step_end(model, step, timestep, {"latents", "denoised"}) stops the generation by returning False.
        Raises InvalidInputError, LimitError, CancelledError.
        """
        release = self.files.release
        check_prompt("prompt", prompt, may_be_empty=True)
        check_prompt("negative_prompt", negative_prompt or "", may_be_empty=True)
        parts = split_prompt(prompt) if release.given == "references" else PromptParts(prompt)
        placement = Placement.create(release, parts, image, references, mask_strategy, cond_type)
        own = {} if video is None else {"fps": video.fps, **_size(video, options)}
        options = {**own, **{name: value for name, value in options.items() if value is not None}}
        gives_frames = video is not None or len(placement.sources) > 0
        request = PublishedRequest.create(release, gives_frames=gives_frames, **options)
        shown = beginning(None, video, self._decoded_size(request))
        clips = plan_clips(release, len(shown), request.num_frames, request.clip_frames, condition_frames)
        conditions = read_conditions(release, clips, placement, request)
        with memory_as_limit("the generation"):
            prompts = worded(release, parts.text, request.scores, len(clips))
            embeds = [prompt_embeds] * len(clips) if prompt_embeds else None
            texts = embeds or read_texts(self.ops, self.files, prompts, negative_prompt)
            pieces, before = [shown], from_frames(shown[None])
            for item in self._clips(request, clips, texts, conditions, before, latents_file):
                if isinstance(item, Progress):
                    item.tell(callback_on_step_end, self, ("latents", "denoised"))
                    yield item
                else:
                    pieces.append(item)
        made_by = {"prompt": prompt, "release": release.name, "backend": self.ops.name, "dtype": self.ops.dtype}
        yield Video(np.concatenate(pieces)[: request.num_frames], request.fps, {**request.settings(), **made_by})

    def _decoded_size(self, request: PublishedRequest) -> PublishedRequest:
        """The request with the size that the autoencoder gives back: 424 pixels of 426, as officially."""
        _, _, h, w = without_weights(self.files.autoencoder).latent_shape(1, request.height, request.width)
        return replace(request, height=h * CELL, width=w * CELL)

    def _clips(
        self,
        request: PublishedRequest,
        clips: Sequence[Clip],
        texts: Sequence[Text],
        conditions: Conditions,
        before: NDArray[np.float32],
        latents_file: str | Path | None,
    ) -> Iterator[Progress | NDArray[np.uint8]]:
        """Progress of every clip and then its new frames; before [1, 3, T, H, W]: what the first one continues."""
        sizes, saved = without_weights(self.files.autoencoder), dict[str, NDArray[Any]]()
        for clip in clips:
            shape = sizes.latent_shape(clip.num_frames, request.height, request.width)
            given = self._given(conditions, clip, shape, before)
            latents = None
            for progress in self._steps(request.task(shape, clip), texts[clip.index], given, len(clips)):
                latents = progress.latents
                yield progress
            if isinstance(given, Condition) and self.files.release.puts_back:
                latents = given.keep(self.ops, latents)
            saved[f"clip{clip.index}"] = np.asarray(self.ops.to_numpy(latents), np.float32)
            if latents_file is not None:
                write_safetensors(latents_file, saved)
            before = self._decoded(saved[f"clip{clip.index}"], clip)
            yield to_frames(before)[0][clip.given :]

    def _given(
        self, conditions: Conditions, clip: Clip, shape: tuple[int, int, int, int], before: NDArray[np.float32]
    ) -> Any:
        """What the sampler is given; the autoencoder is in memory if there is something to encode."""
        if not conditions.needed(clip):
            return None
        with on_backend(self.files.autoencoder, self.ops, self.ops.wide_dtype) as vae:
            return conditions.of_clip(self.ops, vae, clip, shape, before)

    def _steps(self, task: Task, text: Text, given: Any, clips: int) -> Iterator[Progress]:
        """Progress of one clip; the denoiser is in memory meanwhile."""
        with on_backend(self.files.denoiser, self.ops, offload_type=self.offload_type) as denoiser:
            for step in self.files.release.sample(self.ops, denoiser, task, text, given):
                done, n = task.loop * task.num_inference_steps + step.number + 1, task.num_inference_steps
                yield Progress(done, clips * n, step.timestep, step.latents, step.denoised, _no_preview)

    def _decoded(self, latents: NDArray[np.float32], clip: Clip) -> NDArray[np.float32]:
        with on_backend(self.files.autoencoder, self.ops, self.ops.wide_dtype) as vae:
            return decode(self.ops, vae, latents, clip.num_frames)


def _size(video: Video, options: Mapping[str, Any]) -> dict[str, int]:
    """The video's own size, unless a resolution is named."""
    named = options.get("resolution") or options.get("aspect_ratio")
    return {} if named else {"height": video.height, "width": video.width}


def _no_preview() -> NDArray[np.uint8]:
    raise InvalidInputError("previews are not made of published releases: their autoencoder is not in memory meanwhile")
