"""The releases: what each makes unless told otherwise, and what it asks of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..conditioning.given_frames import TYPES_V2, TYPES_V13, Frames
from ..conditioning.prompts import RELEASED_AESTHETIC, RELEASED_MOTION
from ..conditioning.sizes import Size, is_named_v12, size_v2, size_v12_width_first
from ..errors import InvalidInputError
from .sampler import Sampler
from .sampling_diffusion import STDiT2Sampler, STDiTSampler
from .sampling_flow import STDiT3Sampler, WindowedSTDiT3Sampler
from .sampling_v2 import MMDiTSampler
from .wording import Wording, endings_v2_0, plain, scores_v1_2, words_v1_3

PICTURE_FIRST = "t2i2v"
CELL = 8  # pixels a side of a latent, of every release


@dataclass(frozen=True)
class Release:
    """One release with the defaults of its official sampling configuration.

    num_frames: of a clip; longer videos are made clip by clip. cell: what height and width are multiples of, in pixels,
    unless they are an official size. condition_frames: how many frames of what exists each further clip is given; 0 if
    it can be given none. autoencoder: the architecture that its latents are of. resolution, aspect_ratio: what stands
    for one of them that is not named.
    given: how frames are given, as references placed by a mask strategy, or by condition types.
    group: a clip has 1 + group · n frames. chunk: frames that its autoencoder encodes for themselves. align: to how
    many latent frames placed references snap. scores: those it reads in prompts, with their defaults; aesthetic_given:
    the aesthetic one where frames are given. wording: what it reads at the end of a prompt. named_size: (height, width)
    of a resolution and an aspect ratio. pooled: whether it reads CLIP's pooled vector too. puts_back: whether given
    latents replace the sampled ones before decoding.
    picture_first: whether an image model may make the first frame (condition type t2i2v).
    step_cache: whether its denoiser, an STDiT3, can leave out steps.
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
    resolution: str
    aspect_ratio: str = "16:9"
    given: Literal["nothing", "references", "types"] = "references"
    types: Mapping[str, Frames] = field(default_factory=dict)
    image_guidance_scale: float = 1.0
    group: int = 1
    chunk: int = 1
    align: int | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    aesthetic_given: float | None = RELEASED_AESTHETIC
    wording: Wording = plain
    named_size: Callable[[str, str], Size] = size_v12_width_first
    pooled: bool = False
    puts_back: bool = False
    step_cache: bool = False
    picture_first: bool = False

    @property
    def condition_types(self) -> tuple[str, ...]:
        """What `cond_type` may be."""
        return (*self.types, PICTURE_FIRST) if self.picture_first else tuple(self.types)

    def of_size(self, config: Any) -> Release:
        """The release with the height and width that its denoiser was trained for, if that is only one size (v1.0)."""
        if not hasattr(config, "input_size"):
            return self
        height, width = (CELL * side for side in config.input_size[1:])
        return replace(self, height=height, width=width)

    def text_width(self, config: Any) -> int:
        """Channels of the text features that a denoiser of this configuration reads."""
        width: int = config.context_in_dim if self.pooled else config.caption_channels
        return width

    def check_size(self, height: int, width: int) -> None:
        """Raise InvalidInputError, with the nearest legal size, unless it is of whole cells or an official one."""
        official = self.cell == 8 and is_named_v12(height, width)
        if (height % self.cell or width % self.cell) and not official:
            nearest = "x".join(str(max(1, round(side / self.cell)) * self.cell) for side in (width, height))
            raise InvalidInputError(
                f"{width}x{height} pixels: {self.name} makes videos whose width and height are multiples of "
                f"{self.cell}; the nearest is {nearest}"
            )

    def size(self, resolution: str | None, aspect_ratio: str | None) -> Size:
        """(height, width) of a named resolution and an aspect ratio, width first; InvalidInputError for other names."""
        return self.named_size(resolution or self.resolution, aspect_ratio or self.aspect_ratio)

    def whole_clip(self, num_frames: int) -> int:
        """The frames of the shortest clip that holds so many."""
        return 1 + -(-(num_frames - 1) // self.group) * self.group

    def whole_condition(self, num_frames: int) -> int:
        """The most of so many frames that a clip can begin with."""
        if self.chunk > 1 and num_frames >= self.chunk:
            return num_frames // self.chunk * self.chunk
        group = 4 if self.chunk > 1 else self.group
        return 1 + (num_frames - 1) // group * group


_V1 = {"aesthetic_score": RELEASED_AESTHETIC, "motion_score": None}
RELEASES = {
    release.name: release
    for release in (
        Release(
            "v1.0", STDiTSampler(), "AutoencoderKL", 100, 7.0, 16, 256, 256, 8.0, 16, 0, "256", "1:1", given="nothing"
        ),
        Release("v1.1", STDiT2Sampler(), "AutoencoderKL", 100, 7.0, 16, 240, 426, 24.0, 8, 4, "240p"),
        Release(
            "v1.2", STDiT3Sampler(), "TwoStageVAE", 30, 7.0, 51, 240, 426, 24.0, 8, 17, "240p",
            chunk=17, align=5, scores={**_V1, "camera_motion": None}, wording=scores_v1_2, step_cache=True,
        ),
        Release(
            "v1.3", WindowedSTDiT3Sampler(), "WindowedVAE", 30, 7.5, 113, 360, 640, 24.0, 8, 17, "360p",
            given="types", types=TYPES_V13, image_guidance_scale=5.0, group=4, scores=_V1, aesthetic_given=7.0,
            wording=words_v1_3, step_cache=True,
        ),
        Release(
            "v2.0", MMDiTSampler(), "HunyuanVAE", 50, 7.5, 129, 192, 336, 24.0, 16, 33, "256px",
            given="types", types=TYPES_V2, image_guidance_scale=3.0, group=4, scores={"motion_score": RELEASED_MOTION},
            wording=endings_v2_0, named_size=size_v2, pooled=True, puts_back=True,
            picture_first=True,
        ),
    )
}  # fmt: skip
