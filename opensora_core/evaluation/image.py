"""Image to video: whether the image is kept, and whether it moves as the prompt says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..media.video import psnr
from ..synthetic.adherence import score
from ..synthetic.world import World
from .cases import Case, ClipShape, render_real
from .report import Report, Tell

if TYPE_CHECKING:
    from ..pipelines.opensora import OpenSora

CEILING = 100.0  # dB that stand for "identical", which has no finite number


@dataclass(frozen=True)
class ImageReport(Report):
    """What became of first frames of real clips.

    kept_psnr: dB between the video's first frame and the image as the autoencoder alone gives it back, 100 meaning
    identical; median, and the worst case. given_psnr: dB against the image itself, which the autoencoder bounds.
    """

    kept_psnr: float
    kept_psnr_worst: float
    given_psnr: float


def evaluate_image(
    model: OpenSora,
    world: World,
    cases: Sequence[Case],
    shape: ClipShape,
    *,
    seed: int = 0,
    tell: Tell = lambda done: None,
    **sampling: Any,
) -> ImageReport:
    """Animate the first frame of every case's real clip with its prompt, and look at what came of both."""
    real = [render_real(world, case, shape, seed=seed) for case in cases]
    videos, kept, given, start = [], [], [], time.perf_counter()
    for case, clip in zip(cases, real, strict=True):
        options = {**shape.to_dict(), **sampling}
        video = model.generate_from_image(clip[0], case.prompt, seed=case.seed, **options).frames
        autoencoded = model.decode(model.encode(clip[:1]), 1, shape.height, shape.width)[0, 0]
        kept.append(min(CEILING, psnr(video[0], autoencoded)))
        given.append(min(CEILING, psnr(video[0], clip[0])))
        videos.append(video)
        tell(len(videos))
    scenes = [case.scene for case in cases]
    return ImageReport(
        kept_psnr=float(np.median(kept)),
        kept_psnr_worst=min(kept),
        given_psnr=float(np.median(given)),
        generated=score(videos, scenes, still_images=shape.is_image),
        real=score(real, scenes, still_images=shape.is_image),
        seconds_per_video=(time.perf_counter() - start) / len(cases),
        videos=tuple(videos),
    )
