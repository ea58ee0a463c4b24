"""A published release as a model: prompt, denoiser and autoencoder in turn, one of them in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import one_of
from ...errors import CancelledError, InvalidInputError, memory_as_limit
from ...media.video import Video
from ...ops import Ops
from ...registry import get_backend
from ...releases.offload import OFFLOAD_TYPES
from ...releases.task import Frames, Text
from ...serialization.writer import write_safetensors
from ..inputs import beginning
from ..streaming import Progress
from ..video_model import VideoModel
from .clips import Clip, plan_clips
from .coding import decode, encode
from .components import ReleaseFiles, on_backend, without_weights
from .request import PublishedRequest
from .text import read_text

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
        self.ops = backend if isinstance(backend, Ops) else get_backend(backend, device=device, dtype=dtype)

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
        condition_frames: int | None = None,
        negative_prompt: str | None = None,
        prompt_embeds: Text | None = None,
        latents_file: str | Path | None = None,
        callback_on_step_end: Callback | None = None,
        **options: Any,
    ) -> Iterator[Progress | Video]:
        """Generate step by step: yields a Progress after every step and the finished Video at the end.

        Options, each with the release's own default: num_frames, height, width (pixels), fps, num_inference_steps,
        guidance_scale, image_guidance_scale (v1.3, v2.0), seed (drawn if absent, found in `video.metadata`).
        prompt_embeds: features in place of a text encoder. latents_file: where the latents [clips, C, T, h, w] of each
        clip are written before they are decoded, so that a decoding that runs out of memory loses nothing.
        callback_on_step_end(model, step, timestep, {"latents", "denoised"}) stops the generation by returning False.
        Raises InvalidInputError, LimitError, CancelledError.
        """
        if video is not None:
            own = {"height": video.height, "width": video.width, "fps": video.fps}
            options = {**own, **{name: value for name, value in options.items() if value is not None}}
        request = self.request(**options)
        frames = beginning(image, video, request)
        clips = plan_clips(self.files.release, len(frames), request.num_frames, condition_frames)
        with memory_as_limit("the generation"):
            text = prompt_embeds or read_text(self.ops, self.files, prompt, negative_prompt)
            shown, saved = frames, dict[str, NDArray[Any]]()
            for clip in clips:
                latents = None
                for progress in self._steps(request, text, clip, shown, len(clips)):
                    self._tell(callback_on_step_end, progress)
                    latents = progress.latents
                    yield progress
                saved[f"clip{clip.index}"] = np.asarray(self.ops.to_numpy(latents), np.float32)
                if latents_file is not None:
                    write_safetensors(latents_file, saved)
                new = self._decoded(saved[f"clip{clip.index}"], clip)
                shown = np.concatenate([shown, new[clip.given :]])
        made_by = {"prompt": prompt, "release": self.files.release.name, "backend": self.ops.name}
        yield Video(shown, request.fps, {**request.settings(), **made_by, "dtype": self.ops.dtype})

    def _steps(
        self, request: PublishedRequest, text: Text, clip: Clip, shown: NDArray[np.uint8], clips: int
    ) -> Iterator[Progress]:
        """Progress of one clip; the denoiser is in memory meanwhile."""
        given = shown[len(shown) - clip.given :]
        outline = without_weights(self.files.autoencoder)
        shape = outline.latent_shape(clip.num_frames, request.height, request.width)
        frames = self._encoded(given, shape, request.seed) if clip.given else None
        task = request.task(shape, clip)
        with on_backend(self.files.denoiser, self.ops, offload_type=self.offload_type) as denoiser:
            for step in self.files.release.sample(self.ops, denoiser, task, text, frames):
                done = clip.index * request.num_inference_steps + step.number + 1
                total = clips * request.num_inference_steps
                yield Progress(done, total, step.timestep, step.latents, step.denoised, _no_preview)

    def _encoded(self, given: NDArray[np.uint8], shape: tuple[int, int, int, int], seed: int) -> Frames:
        with on_backend(self.files.autoencoder, self.ops, self.ops.wide_dtype) as vae:
            return encode(self.ops, vae, given, shape, seed)

    def _decoded(self, latents: NDArray[np.float32], clip: Clip) -> NDArray[np.uint8]:
        with on_backend(self.files.autoencoder, self.ops, self.ops.wide_dtype) as vae:
            return decode(self.ops, vae, latents, clip.num_frames)

    def _tell(self, callback: Callback | None, progress: Progress) -> None:
        if callback is None:
            return
        state = {"latents": progress.latents, "denoised": progress.denoised}
        if callback(self, progress.step, progress.timestep, state) is False:
            raise CancelledError(f"the callback stopped the generation after step {progress.step} of {progress.total}")


def _no_preview() -> NDArray[np.uint8]:
    raise InvalidInputError("previews are not made of published releases: their autoencoder is not in memory meanwhile")
