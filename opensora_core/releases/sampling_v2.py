"""How v2.0 makes latents out of noise: packed patches, and guidance by text and by given frames, or distilled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..checks import number, switch
from ..conditioning.given_frames import Condition
from ..dit.mmdit import MMDiT
from ..dit.mmdit_layers import Grid, pack, unpack
from ..errors import InvalidInputError
from ..ops import Array, Ops
from ..schedulers.flow_v2 import distilled_flow, image_text_flow, shift_v2, times_v2
from ..schedulers.guidance import frame_scales, oscillating
from ..schedulers.stepping import Predict, Step
from .sampler import FLOW_SAMPLERS, Sampler
from .task import Task, Text


@dataclass(frozen=True)
class MMDiTSampler(Sampler):
    """v2.0: Euler's method over packed latents.

    sampler: "rflow", guided by text and by given frames; "distilled", for a network that was told how to be guided, and
    sees each step once. use_timestep_transform: whether larger and longer videos are sampled at noisier times;
    flow_shift says how much so, in place of what size and length give. text_osci, image_osci: guidance by text and by
    given frames is off in every second step after the tenth. scale_temporal_osci: guidance by a given image rises along
    time.
    """

    SAMPLERS: ClassVar[tuple[str, ...]] = (*FLOW_SAMPLERS, "distilled")

    use_timestep_transform: bool = True
    flow_shift: float | None = None
    text_osci: bool = True
    image_osci: bool = True
    scale_temporal_osci: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        for name in ("use_timestep_transform", "text_osci", "image_osci", "scale_temporal_osci"):
            switch(name, getattr(self, name))
            if name.endswith("osci") and self.sampler == "distilled" and not getattr(self, name):
                raise InvalidInputError(f"{name} is an option of sampler='rflow': 'distilled' has no such guidance")
        if self.flow_shift is not None:
            number("flow_shift", self.flow_shift, 0.0, above=True)

    def __call__(self, ops: Ops, denoiser: MMDiT, task: Task, text: Text, given: Condition | None) -> Iterator[Step]:
        """Sample one clip, see `Sampler`: the latents of its steps are unpacked."""
        patch = denoiser.config.patch_size
        _, T, h, w = task.shape
        grid = (T, h // patch, w // patch)
        x, times = pack(ops, task.start(ops), patch), self.times(task.num_inference_steps, grid)
        predict = self._predict(ops, denoiser, task, text, given, grid)
        if self.sampler == "distilled":
            steps = distilled_flow(ops, predict, x, times)
        else:
            steps = image_text_flow(ops, predict, x, times, *self._scales(ops, task, given, grid))
        for step in steps:
            latents, denoised = (unpack(ops, packed, grid, patch) for packed in (step.latents, step.denoised))
            yield step._replace(latents=latents, denoised=denoised)

    def times(self, num_steps: int, grid: Grid) -> list[float]:
        """Times from 1 to 0 for latents of a grid (T, H, W) of patches."""
        if not self.use_timestep_transform:
            return times_v2(num_steps)
        return times_v2(num_steps, self.flow_shift or shift_v2(grid[1] * grid[2], grid[0]))

    def _predict(
        self, ops: Ops, denoiser: MMDiT, task: Task, text: Text, given: Condition | None, grid: Grid
    ) -> Predict:
        """The denoiser on [prompt and frames, negative prompt and frames, negative prompt alone], or the first."""
        copies = 1 if self.sampler == "distilled" else 3
        txt, vec = _rows(ops, text, copies)
        config = denoiser.config
        cond = None
        if config.cond_embed:
            seen = _condition(ops, given, task.shape, config.patch_size)
            cond = ops.concat([seen, seen, seen * 0.0][:copies], axis=0)
        elif given is not None:
            raise InvalidInputError("this denoiser was not made to be given frames: it has no cond_in")

        def predict(x: Array, time: float, x_mask: Array | None) -> Array:
            t, scale = (ops.full((x.shape[0],), value, x.dtype) for value in (time, task.guidance_scale))
            return denoiser(ops, x, t, txt, vec, cond, grid, scale if config.guidance_embed else None)

        return predict

    def _scales(self, ops: Ops, task: Task, given: Condition | None, grid: Grid) -> tuple[list[float], list[Array]]:
        """Guidance by text of every step, and by given frames of every step and token, [1, T·H·W, 1]."""
        n, T = task.num_inference_steps, grid[0]
        texts, images = (
            oscillating(scale, n) if swings else [scale] * n
            for scale, swings in (
                (task.guidance_scale, self.text_osci),
                (task.image_guidance_scale, self.image_osci),
            )
        )
        rises = self.scale_temporal_osci and given is not None and given.kind.startswith("i2v")
        scales = frame_scales(images, n + 1, T) if rises else [[scale] * T for scale in images]
        return texts, [ops.asarray(_per_token(row, grid), ops.wide_dtype) for row in scales]


def _rows(ops: Ops, text: Text, copies: int) -> tuple[Array, Array]:
    """Features [copies, L, C] and pooled vectors [copies, V]: the prompt, then the negative one, repeated."""
    if text.pooled is None:
        raise InvalidInputError("v2.0 reads T5 features and CLIP's pooled vector of the prompt")
    features, pooled = text.features, text.pooled
    if copies > 1:
        if text.negative is None or text.negative_pooled is None:
            raise InvalidInputError("v2.0 is guided by T5 features and CLIP's pooled vector of a negative prompt")
        features, pooled = _behind(features, text.negative[0], copies), _behind(pooled, text.negative_pooled, copies)
    return ops.asarray(features, ops.dtype), ops.asarray(pooled, ops.dtype)


def _behind(row: NDArray[Any], negative: NDArray[Any], copies: int) -> NDArray[Any]:
    return np.concatenate([row, np.resize(negative, (copies - 1, *negative.shape[1:]))])


def _condition(ops: Ops, given: Condition | None, shape: tuple[int, int, int, int], patch: int) -> Array:
    """Mask and latents of given frames, packed: [1, T·H·W, (1 + C)·p·p], all zero without any."""
    C, T, h, w = shape
    empty = (1, 1 + C, T, h, w)
    return pack(ops, ops.full(empty, 0.0, ops.wide_dtype) if given is None else given.channels(ops), patch)


def _per_token(scales: list[float], grid: Grid) -> NDArray[np.float64]:
    """Scales of the latent frames for every token, [1, T·H·W, 1]."""
    return np.repeat(np.array(scales), grid[1] * grid[2])[None, :, None]
