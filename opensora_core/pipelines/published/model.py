"""A published release as a model: prompt, denoiser and autoencoder in turn, one of them in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import one_of
from ...dit.step_cache import StepCache
from ...errors import InvalidInputError, memory_as_limit
from ...media.video import Video
from ...ops import Ops
from ...precision import dtype_facts
from ...releases.offload import OFFLOAD_TYPES
from ..finite import CheckFinite, FiniteCheck, read_policy
from ..inputs import as_continued, check_prompt, one_beginning
from ..pretrained import backend_of
from ..request import approximation, cache_of
from ..streaming import Progress
from ..video_model import VideoModel
from .components import ReleaseFiles
from .embeds import check_negative_prompt, read_embeds
from .fitting import check_denoiser, check_fit
from .ignored import check_distilled, without_scores
from .job import Job
from .kept import KeptLatents
from .references import read_placement, record_of
from .request import PublishedRequest
from .running import Running
from .text import MAX_PUBLISHED_PROMPT, embeddings_cache, recorded, texts_of

Callback = Callable[["PublishedOpenSora", int, float, dict[str, Any]], Any]


class PublishedOpenSora(VideoModel):
    """Open-Sora v1.0 to v2.0 from its published weights, on any backend.

    Args:
        paths: the file or folder of the denoiser and, where they lie elsewhere, of autoencoder and text encoders.
        backend, device, dtype: see `get_backend`. Weights are read anew for every generation, each model when its turn
            comes, so that text encoder, denoiser and autoencoder are never in memory together.
        offload_type: "block_level" leaves the denoiser's blocks in their file and brings each when its turn comes, in
            every step: for a denoiser larger than memory. The numbers are the same. "none" brings all of it at once.
        cache: folder in which text features are kept, so that a prompt is encoded once; by default that of the
            environment's OPENSORA_CACHE, and without it none.
    """

    def __init__(
        self,
        *paths: str | Path,
        backend: str | Ops = "auto",
        device: str | None = None,
        dtype: str | None = None,
        offload_type: str = "none",
        cache: str | Path | None = None,
    ) -> None:
        self.offload_type = one_of("offload_type", offload_type, OFFLOAD_TYPES)
        self.files = ReleaseFiles(paths)
        check_denoiser(self.files.denoiser)
        config = self.files.denoiser_config
        self.ops = backend_of(backend, device, dtype, (config.hidden_size, config.num_heads))
        self.cache = embeddings_cache(cache)

    @property
    def metadata(self) -> dict[str, Any]:
        """The release, and of each of its models what `opensora info` says; reads no weights."""
        parts = [part.describe() for part in self.files.parts]
        return {
            "release": self.files.release.name,
            "parts": parts,
            "backend": self.ops.name,
            "device": self.ops.device,
            **dtype_facts(self.ops),
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
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        latents_file: str | Path | None = None,
        check_finite: CheckFinite = "raise",
        callback_on_step_end: Callback | None = None,
        **options: Any,
    ) -> Iterator[Progress | Video]:
        """Generate step by step: yields a Progress after every step and the finished Video at the end.

        Options, each with the release's own default: num_frames, height, width (pixels) or resolution ("240p") and
        aspect_ratio ("16:9", width first), fps, num_inference_steps, guidance_scale, image_guidance_scale (v1.3, v2.0),
        aesthetic_score, motion_score, camera_motion ("off" leaves one out of the prompt), clip_frames,
        condition_frame_edit, step_cache (v1.2, v1.3: compute every so many steps only, an approximation), seed (drawn
        if absent, found in `video.metadata`), sampler ("iddpm", "ddim" with its eta, or "dpm-solver++" of v1.0 and
        v1.1), and whatever else the sampler of the release may be told, see its class in `opensora_core.releases`.
        prompt: of up to 20000 characters; a PromptWarning says how many tokens the text encoder cuts off, and what is
        too long for the metadata of a file. It may be a schedule over the clips of a long video,
        `|0|a calm sea|2|a storm`, and for v1.1 and v1.2 end with JSON:
        {"reference_path": "a.png;b.mp4", "mask_strategy": "0"}.
        references: images and videos, as paths, `Video`s, PIL images or uint8 pixels; mask_strategy (v1.1, v1.2) or
        cond_type (v1.3, v2.0) says where they go. image: the one that the video begins with. Both come back as the
        autoencoder gives them.
        cond_type="t2i2v" (v2.0): an image model in the layout of Flux makes the first frame, at image_resolution
        ("768px"); it and its autoencoder are among the paths of this model.
        video: is continued, and stays as it is; condition_frames of its last frames are given to the model.
        prompt_embeds, negative_prompt_embeds: features [1, L, C] in place of a text encoder, or a `Text`, with a mask
        and CLIP's vector, which v2.0 needs.
        latents_file: where the latents [1, C, T, h, w] of each clip are kept. Without one they are in a temporary file
        until they are decoded; where that fails, the error says where, and `decode_latents` makes the video of them.
        check_finite: what NaN or Inf in text features or latents does, "raise"|"warn"|"off".
        callback_on_step_end(model, step, timestep, {"latents", "denoised"}) stops the generation by returning False.
        Raises InvalidInputError, NonFiniteError, LimitError, CancelledError.
        """
        one_beginning(image, video)
        asked = as_continued(options, video)
        check_prompt("prompt", prompt, may_be_empty=True, most=MAX_PUBLISHED_PROMPT)
        check_prompt("negative_prompt", negative_prompt or "", may_be_empty=True, most=MAX_PUBLISHED_PROMPT)
        embeds = read_embeds(self.files, "prompt_embeds", prompt_embeds)
        negative = read_embeds(self.files, "negative_prompt_embeds", negative_prompt_embeds)
        avoids_embeds = negative is not None or (embeds is not None and embeds.negative is not None)
        if negative_prompt is not None and avoids_embeds:
            raise InvalidInputError("negative_prompt and negative_prompt_embeds both say what to avoid; give one")
        if negative_prompt is not None and embeds is not None:
            check_negative_prompt(self.files.release.name, embeds)
        parts, placement = read_placement(self.files.release, prompt, image, references, mask_strategy, cond_type)
        asked = asked if embeds is None else without_scores(self.files.release, asked)
        job = Job.create(self.files, parts.text, placement, video, condition_frames, asked)
        avoids = negative_prompt is not None or negative is not None
        check_distilled(job.request.sample.sampler, self.files.denoiser_config, self.files.denoiser.path, avoids=avoids)
        needs_encoders = embeds is None or negative_prompt is not None
        check_fit(self.files, reads_prompts=needs_encoders, paints=job.picture is not None)
        check, cache = FiniteCheck(read_policy(check_finite)), cache_of(job.request)
        said = recorded(prompt=prompt, negative_prompt=negative_prompt)
        said |= record_of(image, references, mask_strategy, cond_type)
        record = partial(self._record, job, said, cache)
        kept = KeptLatents(latents_file, lambda: job.record(record()), job.shown)
        with memory_as_limit("the generation"), kept:
            texts = texts_of(
                self.ops, self.files, job.request, job.prompts, negative_prompt, embeds, negative, self.cache
            )
            for text in texts:
                check(
                    partial(np.asarray, text.features),
                    lambda: "the features of T5 hold NaN or Inf: try dtype bfloat16 or float32",
                )
            pieces = [job.shown]
            for item in Running(self.ops, self.files, self.offload_type, job, texts, check, kept, cache).items():
                if isinstance(item, Progress):
                    item.tell(callback_on_step_end, self, ("latents", "denoised"))
                    yield item
                else:
                    pieces.append(item)
        yield Video(np.concatenate(pieces)[: job.request.num_frames], job.request.fps, record())

    def _record(self, job: Job, said: Mapping[str, Any], cache: StepCache | None) -> dict[str, Any]:
        """How the video is made, as its metadata tells it."""
        release = self.files.release.name
        made_by = {"release": release, "backend": self.ops.name, **dtype_facts(self.ops)}
        return {**job.request.settings(), **approximation(cache), **said, **made_by}
