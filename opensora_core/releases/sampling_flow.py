"""How v1.2 and v1.3 make latents out of noise: rectified flow with official guidance and conditions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..checks import number, switch
from ..conditioning.given_frames import Condition
from ..dit.embedders import conditioning_fps
from ..dit.stdit3 import STDiT3
from ..dit.stdit3_windows import GivenFrames, WindowedSTDiT3
from ..ops import Array, Ops
from ..schedulers.conditioned_flow import Given, image_flow, resolution_ratio_v13, text_flow
from ..schedulers.guidance import frame_scales, oscillating
from ..schedulers.rectified_flow import euler, guided
from ..schedulers.stepping import Predict, Step
from ..schedulers.timesteps import CHUNK_FRAMES, resolution_ratio, sampling_timesteps
from .sampler import Sampler
from .task import Placed, Task, Text
from .text_rows import guided_context, text_rows


@dataclass(frozen=True)
class STDiT3Sampler(Sampler):
    """v1.2: Euler's method; given frames are kept by a mask.

    use_timestep_transform: whether larger and longer videos are sampled at noisier times, and transform_scale how much
    more so. use_discrete_timesteps: rounds times to whole numbers first.
    """

    use_timestep_transform: bool = True
    transform_scale: float = 1.0
    use_discrete_timesteps: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        number("transform_scale", self.transform_scale, 0.0, above=True)
        for name in ("use_timestep_transform", "use_discrete_timesteps"):
            switch(name, getattr(self, name))

    def __call__(self, ops: Ops, denoiser: STDiT3, task: Task, text: Text, given: Placed | None) -> Iterator[Step]:
        """Sample one clip; see `Sampler`."""
        context = guided_context(ops, denoiser, text, task.guidance_scale)
        rate = conditioning_fps(task.num_frames, task.fps)

        def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
            t, fps = (ops.full((z.shape[0],), value, z.dtype) for value in (timestep, rate))
            return denoiser.denoise(ops, z, t, context, fps=fps, height=task.height, width=task.width, x_mask=x_mask)

        def alone(z: Array, timestep: float, x_mask: Array | None) -> Array:
            return predict(z, timestep, x_mask)[:, : task.shape[0]]

        guides = task.guidance_scale != 1
        velocity = guided(ops, predict, task.guidance_scale, task.shape[0]) if guides else alone
        times = self.times(task.num_inference_steps, task.height, task.width, task.num_frames)
        if given is None:
            return euler(ops, velocity, task.start(ops), times)
        start, mask = given.place(ops, task.start(ops), task.loop)
        return euler(ops, velocity, start, times, mask, task.noise(ops, "frames"))

    def times(self, num_steps: int, height: float, width: float, num_frames: int) -> list[float]:
        """Times at which the denoiser is asked.

        Warns for 2 to 16 frames, where the official transform is 0/0: they are sampled without it.
        """
        ratio = None
        if self.use_timestep_transform and 1 < num_frames < CHUNK_FRAMES:
            warnings.warn(
                f"the timestep transform of v1.2 is undefined for {num_frames} frames, which are sampled without it; "
                f"1 frame, or {CHUNK_FRAMES} and more, are what the model was trained for",
                RuntimeWarning,
                stacklevel=2,
            )
        elif self.use_timestep_transform:
            ratio = resolution_ratio(height, width, num_frames, self.transform_scale)
        return sampling_timesteps(num_steps, ratio=ratio, discrete=self.use_discrete_timesteps)


@dataclass(frozen=True)
class WindowedSTDiT3Sampler(Sampler):
    """v1.3: Euler's method; given frames are seen as clean latents and guided by apart.

    use_timestep_transform, transform_scale: as of v1.2. scale_temporal: whether the length counts in it, too.
    text_osci, image_osci: guidance by text and by given frames is off in every second step after the tenth.
    scale_temporal_osci: guidance by given frames rises along time. use_flaw_fix: the deviation of what guidance by text
    gives is brought back. use_sdedit: given frames are set to themselves, noised, before every step.
    """

    use_timestep_transform: bool = True
    transform_scale: float = 1.0
    scale_temporal: bool = True
    text_osci: bool = True
    image_osci: bool = True
    scale_temporal_osci: bool = False
    use_flaw_fix: bool = True
    use_sdedit: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        number("transform_scale", self.transform_scale, 0.0, above=True)
        for name in (
            "use_timestep_transform", "scale_temporal", "text_osci", "image_osci", "scale_temporal_osci",
            "use_flaw_fix", "use_sdedit",
        ):  # fmt: skip
            switch(name, getattr(self, name))

    def __call__(
        self, ops: Ops, denoiser: WindowedSTDiT3, task: Task, text: Text, given: Condition | None
    ) -> Iterator[Step]:
        """Sample one clip; see `Sampler`."""
        predict = self._predict(ops, denoiser, task, text, given)
        n = task.num_inference_steps
        times, scales = self._times(task), _scales(task.guidance_scale, n, self.text_osci)
        if given is None:
            return text_flow(ops, predict, task.start(ops), times, scales, restore=self.use_flaw_fix)
        images = _scales(task.image_guidance_scale, n, self.image_osci)
        weights = [[scale] * task.shape[1] for scale in images]
        if self.scale_temporal_osci:
            weights = frame_scales(images, n, task.shape[1])
        edited = None
        if self.use_sdedit:
            edited = Given(given.latents, given.mask, task.noise(ops, "frames"))
        return image_flow(ops, predict, task.start(ops), times, scales, weights, edited)

    def _predict(self, ops: Ops, denoiser: WindowedSTDiT3, task: Task, text: Text, given: Condition | None) -> Predict:
        """The denoiser on rows of prompt and null caption, and with given frames a third time with neither."""
        copies, B = 2 if given is None else 3, text.features.shape[0]
        y, mask = text_rows(ops, denoiser, text, copies)
        context = denoiser.encode_text(ops, y, mask)
        null = ops.concat([y[B : 2 * B]] * copies, axis=0)
        seen = None if given is None else _seen(ops, given, denoiser.encode_text(ops, null, mask))
        rate = conditioning_fps(task.num_frames, task.fps)

        def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
            t, fps = (ops.full((z.shape[0],), value, z.dtype) for value in (timestep, rate))
            return denoiser.denoise(
                ops, z, t, context, fps=fps, height=task.height, width=task.width, given=seen, x_mask=None
            )

        return predict

    def _times(self, task: Task) -> list[float]:
        ratio = None
        if self.use_timestep_transform:
            ratio = resolution_ratio_v13(
                task.height,
                task.width,
                task.num_frames,
                scale=self.transform_scale,
                scale_temporal=self.scale_temporal,
            )
        return sampling_timesteps(task.num_inference_steps, ratio=ratio)


def _scales(scale: float, num_steps: int, swings: bool) -> list[float]:
    return oscillating(scale, num_steps) if swings else [scale] * num_steps


def _seen(ops: Ops, given: Condition, empty: Any) -> GivenFrames:
    """Clean latents in the rows of prompt and image, zeros in the last one; the mask in all three."""
    rows = ops.concat([given.latents, given.latents, given.latents * 0.0], axis=0)
    mask = ops.concat([given.mask] * given.latents.shape[1], axis=1)
    return GivenFrames(given.indices, rows, ops.concat([mask] * 3, axis=0), empty)
