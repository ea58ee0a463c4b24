"""The releases: what each makes unless told otherwise, and what it asks of a request."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidInputError
from .sampling import sample_v1_0, sample_v1_1, sample_v1_2, sample_v1_3
from .sampling_v2 import sample_v2_0
from .task import Sampler


@dataclass(frozen=True)
class Release:
    """One release with the defaults of its official sampling configuration.

    num_frames: of a clip; longer videos are made clip by clip. cell: what height and width are multiples of, in pixels.
    condition_frames: how many frames of what exists each further clip is given; 0 if it can be given none.
    autoencoder: the architecture that its latents are of.
    """

    name: str
    sample: Sampler
    autoencoder: str
    num_inference_steps: int
    guidance_scale: float
    num_frames: int
    height: int
    width: int
    fps: float
    cell: int
    condition_frames: int
    image_guidance_scale: float = 1.0
    pooled: bool = False  # whether it reads CLIP's pooled vector too

    def check_size(self, height: int, width: int) -> None:
        """Raise InvalidInputError, with the nearest legal size, unless both are multiples of the cell."""
        if height % self.cell or width % self.cell:
            nearest = "x".join(str(max(1, round(side / self.cell)) * self.cell) for side in (width, height))
            raise InvalidInputError(
                f"{width}x{height} pixels: {self.name} makes videos whose width and height are multiples of "
                f"{self.cell}; the nearest is {nearest}"
            )


RELEASES = {
    release.name: release
    for release in (
        Release("v1.0", sample_v1_0, "AutoencoderKL", 100, 7.0, 16, 256, 256, 8.0, 16, 0),
        Release("v1.1", sample_v1_1, "AutoencoderKL", 100, 7.0, 16, 240, 424, 24.0, 8, 4),
        Release("v1.2", sample_v1_2, "TwoStageVAE", 30, 7.0, 51, 240, 424, 24.0, 8, 17),
        Release("v1.3", sample_v1_3, "WindowedVAE", 30, 7.5, 113, 360, 640, 24.0, 8, 17, 5.0),
        Release("v2.0", sample_v2_0, "HunyuanVAE", 50, 7.5, 129, 192, 336, 24.0, 16, 33, 3.0, pooled=True),
    )
}
