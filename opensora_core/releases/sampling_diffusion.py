"""How v1.0 and v1.1 make latents out of noise: Gaussian diffusion by any of three samplers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..checks import number, whole
from ..dit.embedders import conditioning_fps
from ..dit.stdit import STDiT
from ..dit.stdit2 import STDiT2, VideoSize
from ..errors import InvalidInputError
from ..ops import Array, Ops
from ..schedulers.ancestral import ancestral, guided_noise
from ..schedulers.ddim import ddim
from ..schedulers.diffusion import DiffusionTables
from ..schedulers.dpm_solver import dpm_solver
from ..schedulers.stepping import Predict, Step
from .sampler import DIFFUSION_SAMPLERS, Sampler
from .task import Placed, Task, Text
from .text_rows import guided_context

CHANNELS = 4  # of the latents of v1.0 and v1.1
CFG_CHANNEL = 3  # the channels of the noise that guidance reaches, officially


@dataclass(frozen=True)
class DiffusionSampler(Sampler):
    """Ancestral sampling, officially, or with fewer steps DDIM or DPM-Solver++ 2M.

    eta: of DDIM, from 0, without noise on the way, to 1. cfg_channel: how many channels of the predicted noise guidance
    reaches, `CFG_CHANNEL` where it is None; of DPM-Solver++ it reaches all, and cannot be said.
    """

    SAMPLERS: ClassVar[tuple[str, ...]] = DIFFUSION_SAMPLERS
    TABLES: ClassVar[Literal["float32", "float64"]] = "float64"  # the official precision

    sampler: str = "iddpm"
    eta: float = 0.0
    cfg_channel: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if number("eta", self.eta, 0.0, 1.0) and self.sampler != "ddim":
            raise InvalidInputError(f"eta={self.eta:g} is an option of sampler='ddim', not of {self.sampler!r}")
        if self.cfg_channel is not None:
            whole("cfg_channel", self.cfg_channel, 1, CHANNELS)
            if self.sampler == "dpm-solver++":
                raise InvalidInputError(
                    f"cfg_channel={self.cfg_channel} is an option of sampler='iddpm' and 'ddim': guidance of "
                    "'dpm-solver++' reaches all channels"
                )

    @property
    def keeps_frames(self) -> bool:
        """Whether it can be given frames: officially the ancestral sampler alone."""
        return self.sampler == "iddpm"

    @property
    def least_steps(self) -> int:
        """2: what is left of a single step is no diffusion."""
        return 2

    def _steps(self, ops: Ops, predict: Predict, task: Task, given: Placed | None) -> Iterator[Step]:
        """The steps of the sampler that was chosen; predict sees rows as `guided_context` has them."""
        if given is not None and not self.keeps_frames:
            raise InvalidInputError(f"sampler={self.sampler!r} keeps no given frames; sampler='iddpm' does")
        channels, n = task.shape[0], task.num_inference_steps
        if self.sampler != "dpm-solver++":
            channels = self.cfg_channel or CFG_CHANNEL
        guides = task.guidance_scale != 1
        network = guided_noise(ops, predict, task.guidance_scale, channels) if guides else predict
        if self.sampler == "dpm-solver++":
            return dpm_solver(ops, network, task.start(ops), n)
        tables = diffusion_tables(ops, str(n), self.TABLES)
        if self.sampler == "ddim":
            return ddim(ops, network, task.start(ops), tables, self.eta, task.noise(ops, "step"))
        if given is None:
            return ancestral(ops, network, task.start(ops), tables, task.noise(ops, "step"))
        start, mask = given.place(ops, task.start(ops), task.loop)
        return ancestral(ops, network, start, tables, task.noise(ops, "step"), mask, task.noise(ops, "frames"))


def diffusion_tables(ops: Ops, spacing: str, official: Literal["float32", "float64"]) -> DiffusionTables:
    """Tables in the precision of the release; a run in float64 has them in float64 too."""
    return DiffusionTables.spaced(spacing, "float64" if ops.dtype == "float64" else official)


@dataclass(frozen=True)
class STDiTSampler(DiffusionSampler):
    """v1.0, with float64 tables; it knows no given frames."""

    def __call__(self, ops: Ops, denoiser: STDiT, task: Task, text: Text, given: None) -> Iterator[Step]:
        """Sample one clip; see `Sampler`."""
        denoiser = denoiser.at_size(task.shape[1:])
        context = guided_context(ops, denoiser, text, task.guidance_scale)

        def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
            return denoiser.denoise(ops, z, ops.full((z.shape[0],), timestep, z.dtype), context)

        return self._steps(ops, predict, task, given)


@dataclass(frozen=True)
class STDiT2Sampler(DiffusionSampler):
    """v1.1, with float32 tables; given frames are kept by a mask."""

    TABLES: ClassVar[Literal["float32", "float64"]] = "float32"

    def __call__(self, ops: Ops, denoiser: STDiT2, task: Task, text: Text, given: Any) -> Iterator[Step]:
        """Sample one clip; see `Sampler`."""
        context = guided_context(ops, denoiser, text, task.guidance_scale)
        fps = conditioning_fps(task.num_frames, task.fps)
        size = VideoSize(float(task.height), float(task.width), float(task.num_frames), fps)

        def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
            t = ops.full((z.shape[0],), timestep, z.dtype)
            return denoiser.denoise(ops, z, t, context, size, x_mask=x_mask)

        return self._steps(ops, predict, task, given)
