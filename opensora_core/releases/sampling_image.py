"""How an image model in the layout of Flux makes the picture that a video begins with (t2i2v of v2.0)."""

from __future__ import annotations

from collections.abc import Iterator

from ..dit.mmdit import MMDiT
from ..dit.mmdit_layers import pack, unpack
from ..ops import Array, Ops
from ..schedulers.flow_v2 import distilled_flow, shift_v2, times_v2
from ..schedulers.stepping import Step
from .task import Task, Text

GUIDANCE = 4.0  # of the picture, officially whatever the video's is


def sample_image(ops: Ops, denoiser: MMDiT, task: Task, text: Text) -> Iterator[Step]:
    """Rectified flow without a second row: a distilled model takes the scale of guidance as an input."""
    patch = denoiser.config.patch_size
    _, T, h, w = task.shape
    grid = (T, h // patch, w // patch)
    txt, vec = ops.asarray(text.features, ops.dtype), ops.asarray(text.pooled, ops.dtype)
    scale = ops.full((1,), task.guidance_scale, ops.wide_dtype) if denoiser.config.guidance_embed else None

    def predict(x: Array, time: float, x_mask: Array | None) -> Array:
        return denoiser(ops, x, ops.full((1,), time, x.dtype), txt, vec, None, grid, scale)

    times = times_v2(task.num_inference_steps, shift_v2(grid[1] * grid[2], T))
    for step in distilled_flow(ops, predict, pack(ops, task.start(ops), patch), times):
        latents, denoised = (unpack(ops, packed, grid, patch) for packed in (step.latents, step.denoised))
        yield step._replace(latents=latents, denoised=denoised)
