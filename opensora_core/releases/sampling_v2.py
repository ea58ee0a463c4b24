"""How v2.0 makes latents out of noise: packed patches, and guidance by text and by given frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..conditioning.given_frames import Condition
from ..dit.mmdit import MMDiT
from ..dit.mmdit_layers import Grid, pack, unpack
from ..errors import InvalidInputError
from ..ops import Array, Ops
from ..schedulers.flow_v2 import image_text_flow, shift_v2, times_v2
from ..schedulers.guidance import frame_scales, oscillating
from ..schedulers.stepping import Step
from .task import Task, Text


def sample_v2_0(ops: Ops, denoiser: MMDiT, task: Task, text: Text, given: Condition | None) -> Iterator[Step]:
    """Rectified flow over [prompt and frames, negative prompt and frames, negative prompt alone], unpacked again."""
    patch = denoiser.config.patch_size
    _, T, h, w = task.shape
    grid = (T, h // patch, w // patch)
    txt, vec = _rows(ops, text)
    cond = _condition(ops, given, task.shape, patch)
    cond = ops.concat([cond, cond, cond * 0.0], axis=0)

    def predict(x: Array, time: float, x_mask: Array | None) -> Array:
        return denoiser(ops, x, ops.full((x.shape[0],), time, x.dtype), txt, vec, cond, grid)

    n = task.num_inference_steps
    times = times_v2(n, shift_v2(grid[1] * grid[2], T))
    images = oscillating(task.image_guidance_scale, n)
    rises = given is not None and given.kind.startswith("i2v")
    scales = frame_scales(images, n + 1, T) if rises else [[scale] * T for scale in images]
    weights = [ops.asarray(_per_token(row, grid), ops.wide_dtype) for row in scales]
    x = pack(ops, task.start(ops), patch)
    texts = oscillating(task.guidance_scale, n)
    for step in image_text_flow(ops, predict, x, times, texts, weights):
        latents, denoised = (unpack(ops, packed, grid, patch) for packed in (step.latents, step.denoised))
        yield step._replace(latents=latents, denoised=denoised)


def _rows(ops: Ops, text: Text) -> tuple[Array, Array]:
    """Features [3, L, C] and pooled vectors [3, V]: the prompt, and twice the negative one."""
    if text.pooled is None or text.negative is None or text.negative_pooled is None:
        raise InvalidInputError(
            "v2.0 reads T5 features and CLIP's pooled vector, of the prompt and of the negative one"
        )
    features = np.concatenate([text.features, text.negative[0], text.negative[0]])
    pooled = np.concatenate([text.pooled, text.negative_pooled, text.negative_pooled])
    return ops.asarray(features, ops.dtype), ops.asarray(pooled, ops.dtype)


def _condition(ops: Ops, given: Condition | None, shape: tuple[int, int, int, int], patch: int) -> Array:
    """Mask and latents of given frames, packed: [1, T·H·W, (1 + C)·p·p], all zero without any."""
    C, T, h, w = shape
    empty = (1, 1 + C, T, h, w)
    return pack(ops, ops.full(empty, 0.0, ops.wide_dtype) if given is None else given.channels(ops), patch)


def _per_token(scales: list[float], grid: Grid) -> NDArray[np.float64]:
    """Scales of the latent frames for every token, [1, T·H·W, 1]."""
    return np.repeat(np.array(scales), grid[1] * grid[2])[None, :, None]
