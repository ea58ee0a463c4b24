"""OpenSora: the model as users meet it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

from ..dit.stdit3 import STDiT3
from ..errors import InvalidInputError, OpenSoraError, memory_as_limit
from ..media.video import Video
from ..ops import Ops
from ..precision import dtype_facts
from . import storage
from .explainable import Explainable
from .finite import CheckFinite, read_policy
from .inputs import Embeds, as_continued, beginning, read_prompt
from .request import Request, approximation, available_bytes, cache_of, check_memory, peak_bytes
from .streaming import Progress, run
from .video_model import VideoModel

Callback = Callable[["OpenSora", int, float, dict[str, Any]], Any]


class OpenSora(VideoModel, Explainable):
    """Text, image and clip to video, on one backend.

    >>> model = OpenSora.from_pretrained()
    >>> model.generate_from_text("a red circle moves right on a blue background", seed=0).save("out.mp4")

    Args:
        config: shape and defaults of the model; the weights are random until they are loaded or trained.
        backend: "numpy", "torch", another registered name, or "auto"; or an `Ops` instance.
        device, dtype: see `get_backend`.
        seed: of the random weights.
    """

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *parts: str | Path,
        backend: str | Ops = "auto",
        device: str | None = None,
        dtype: str | None = None,
        offload_type: str = "none",
    ) -> Self:
        """Load a model: a folder that `save` wrote, published Open-Sora weights, or without a source the embedded one.

        Published weights (v1.0 to v2.0) are a file, a folder, or ORGANISATION/NAME of the Hugging Face hub, and come as
        a `PublishedOpenSora`, which makes videos by the same methods. parts: where its autoencoder and text encoders
        are, if not in folders below the source. offload_type: "block_level" for a denoiser larger than memory.
        Raises InvalidInputError if there is nothing there, FileFormatError if it is damaged, WeightsError if the
        weights do not fit the configuration.
        """
        options: dict[str, Any] = {"backend": backend, "device": device, "dtype": dtype}
        if source is not None:
            from ..releases.hub import local

            paths = [local(path) for path in (source, *parts)]
            if not storage.is_own(paths[0]):
                from .published.model import PublishedOpenSora

                return cast(Self, PublishedOpenSora(*paths, **options, offload_type=offload_type))
        if offload_type != "none":
            raise InvalidInputError(f"offload_type={offload_type!r} is for published weights; this model is small")
        if parts and (source is None or paths[0].exists()):
            raise InvalidInputError(f"{source or 'the embedded model'} holds all its parts; nothing can go with it")
        return super().from_pretrained(source, **options)

    # ------------------------------------------------------------------ generation

    def generate_from_text(self, prompt: str, **options: Any) -> Video:
        """Make a video of what the prompt says.

        Options, each with the model's own default: num_frames, height, width (pixels), fps, num_inference_steps,
        guidance_scale (1 switches guidance off), seed (drawn if absent, found in `video.metadata`), negative_prompt,
        prompt_embeds (text features [1, L, C] in place of the prompt) with prompt_mask [1, L], negative_prompt_embeds
        and negative_prompt_mask alike, condition_frames (carried from window to window when num_frames exceeds the
        model's window), step_cache (the blocks are computed in every so many steps only, an approximation that
        `video.metadata` tells as approximated_steps; 1, which computes all), check_finite "raise"|"warn"|"off",
        callback_on_step_end(model, step, timestep, {"latents", "denoised", "preview"}), which stops the generation by
        returning False.
        Raises InvalidInputError, LimitError (not enough memory), NonFiniteError, CancelledError.
        """
        return super().generate_from_text(prompt, **options)

    def stream(
        self,
        prompt: str,
        *,
        image: Any = None,
        video: Video | None = None,
        condition_frames: int | None = None,
        negative_prompt: str | None = None,
        prompt_embeds: Any = None,
        prompt_mask: Any = None,
        negative_prompt_embeds: Any = None,
        negative_prompt_mask: Any = None,
        check_finite: CheckFinite = "raise",
        callback_on_step_end: Callback | None = None,
        **options: Any,
    ) -> Iterator[Progress | Video]:
        """Generate step by step: yields a Progress after every step and the finished Video at the end.

        The generation underneath all others; closing the iterator stops it. Options as for `generate_from_text`; image
        or video is what the result begins with, and a video fixes height, width and fps.
        """
        check_finite = read_policy(check_finite)
        request = self.request(**as_continued(options, video))
        text = read_prompt(
            self.ops,
            self._parts,
            prompt,
            negative=negative_prompt,
            embeds=Embeds(prompt_embeds, prompt_mask),
            negative_embeds=Embeds(negative_prompt_embeds, negative_prompt_mask),
            may_be_empty=image is not None or video is not None,
        )
        cache = cache_of(request)
        steps = run(
            self.ops,
            self._parts.with_step_cache(cache),
            request,
            text,
            beginning(image, video, request),
            condition_frames=condition_frames,
            redraw_given=image is not None,
            check_finite=check_finite,
        )
        with memory_as_limit("the generation"):
            for item in steps:
                if isinstance(item, Progress):
                    item.tell(callback_on_step_end, self, ("latents", "denoised", "preview"))
                    yield item
                else:
                    made_by = {"prompt": prompt, "backend": self.ops.name, **dtype_facts(self.ops)}
                    negative = {} if negative_prompt is None else {"negative_prompt": negative_prompt}
                    told = {**request.settings(), **approximation(cache), **made_by, **negative}
                    yield Video(item, request.fps, told)

    # ------------------------------------------------------------------ speed

    def compile(self) -> Self:
        """Let the backend compile the denoiser: `torch.compile` on Torch, CUDA graphs on `cuda`; returns the model.

        Each new length, size or batch costs a compilation, which `warmup` does ahead. Where the backend compiles
        nothing, a RuntimeWarning says so and all stays as it is.
        """
        ops = self.ops

        def denoise(denoiser: STDiT3, *inputs: Any) -> Any:
            return denoiser.denoise(ops, *inputs)

        compiled = ops.compile(denoise)
        if compiled is denoise:
            warnings.warn(f"the backend {ops.name!r} compiles nothing; the model runs as it is", RuntimeWarning, 2)
        else:
            self._loaded = replace(self._parts, compiled=compiled)
        return self

    def warmup(self, shapes: Iterable[tuple[int, int, int]] | None = None) -> None:
        """Generate once in a few steps for each (num_frames, height, width), by default the model's own.

        What is slow only at first is done then: compiling, choosing kernels, filling memory pools. Should the compiler
        fail, a RuntimeWarning says why and the model goes on uncompiled.
        """
        own = (self.config.num_frames, self.config.height, self.config.width)
        for shape in [own] if shapes is None else shapes:
            try:
                self._generate_briefly(shape)
            except OpenSoraError:
                raise
            except Exception as error:
                if self._parts.compiled is None:
                    raise
                warnings.warn(f"compiling failed, the model runs as it is: {error}", RuntimeWarning, stacklevel=2)
                self._loaded = replace(self._parts, compiled=None)
                self._generate_briefly(shape)

    def _generate_briefly(self, shape: tuple[int, int, int]) -> None:
        steps = min(4, self.config.num_inference_steps)  # some with guidance, some without
        self.generate_custom(self.config.vocabulary[0], *shape, num_inference_steps=steps, seed=0)

    def request(self, **options: Any) -> Request:
        """What a generation with these options makes, defaults filled in; LimitError if it does not fit into memory."""
        request = Request.create(self.config, **options)
        check_memory(peak_bytes(self.config, request, 1, self.ops.dtype), request, available_bytes())
        return request
