"""Extension: whether the seam between the given frames and the new ones can be seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInputError
from ..media.video import Frames, Video
from ..synthetic.adherence import score
from ..synthetic.world import World
from .cases import Case, ClipShape, render_real
from .report import Report, Tell

if TYPE_CHECKING:
    from ..pipelines.opensora import OpenSora

INVISIBLE = 0.5  # levels of mean change from frame to frame below which nobody sees any


@dataclass(frozen=True)
class ExtensionReport(Report):
    """What became of clips whose first `given_frames` frames were given.

    seam_ratio: mean change of the pixels across the seam over their mean change from frame to frame elsewhere; median
    over the clips, and the 90th percentile. unchanged: whether all given frames came back bit for bit.
    """

    given_frames: int
    seam_ratio: float
    seam_ratio_p90: float
    real_seam_ratio: float  # of real clips at the same place
    unchanged: bool


def evaluate_extension(
    model: OpenSora,
    world: World,
    cases: Sequence[Case],
    shape: ClipShape,
    *,
    seed: int = 0,
    tell: Tell = lambda done: None,
    **sampling: Any,
) -> ExtensionReport:
    """Give the model about half of every case's real clip and let it make the rest."""
    group = model.config.codec.block[0]
    if shape.num_frames <= 1:
        raise InvalidInputError(f"num_frames={shape.num_frames}: an extension needs at least 2 frames")
    given = 1 + (shape.num_frames - 1) // (2 * group) * group  # what the autoencoder holds in whole latent frames
    real = [render_real(world, case, shape, seed=seed) for case in cases]
    videos, start = [], time.perf_counter()
    for case, clip in zip(cases, real, strict=True):
        beginning = Video(clip[:given], shape.fps)
        settings = {"num_frames": shape.num_frames - given, "condition_frames": given, "seed": case.seed, **sampling}
        videos.append(model.extend_video(beginning, case.prompt, **settings).frames)
        tell(len(videos))
    seconds = (time.perf_counter() - start) / len(cases)
    scenes = [case.scene for case in cases]
    ratios = [seam_ratio(video, given) for video in videos]
    return ExtensionReport(
        given_frames=given,
        seam_ratio=float(np.median(ratios)),
        seam_ratio_p90=float(np.percentile(ratios, 90)),
        real_seam_ratio=float(np.median([seam_ratio(clip, given) for clip in real])),
        unchanged=all(np.array_equal(v[:given], clip[:given]) for v, clip in zip(videos, real, strict=True)),
        generated=score(videos, scenes),
        real=score(real, scenes),
        seconds_per_video=seconds,
        videos=tuple(videos),
    )


def seam_ratio(video: Frames, given: int) -> float:
    """Mean absolute change from frame given - 1 to frame `given`, over that between the other neighbours.

    Changes too small to be seen count as half a level, lest still scenes divide by nothing.
    """
    changes = np.abs(np.diff(video.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))  # (T - 1,)
    seam, others = float(changes[given - 1]), np.delete(changes, given - 1)
    ordinary = float(others.mean()) if len(others) else 0.0
    return max(seam, INVISIBLE) / max(ordinary, INVISIBLE)
