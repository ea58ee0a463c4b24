"""Text to video: how often the video shows what the prompt says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..synthetic.adherence import Adherence, score
from ..synthetic.world import World
from .cases import Case, ClipShape, render_real
from .report import Report, Tell

if TYPE_CHECKING:
    from ..pipelines.opensora import OpenSora


@dataclass(frozen=True)
class TextReport(Report):
    """What became of prompts; `mismatched` is the adherence of the videos to other prompts, the lower bound."""

    mismatched: Adherence


def evaluate_text(
    model: OpenSora,
    world: World,
    cases: Sequence[Case],
    shape: ClipShape,
    *,
    seed: int = 0,
    tell: Tell = lambda done: None,
    **sampling: Any,
) -> TextReport:
    """Generate every prompt and read the videos; `seed` is that of the real renders, `sampling` goes to the model."""
    videos, start = [], time.perf_counter()
    for case in cases:
        options = {**shape.to_dict(), **sampling}
        videos.append(model.generate_from_text(case.prompt, seed=case.seed, **options).frames)
        tell(len(videos))
    seconds = (time.perf_counter() - start) / len(cases)
    real = [render_real(world, case, shape, seed=seed) for case in cases]
    scenes = [case.scene for case in cases]
    still = shape.is_image
    return TextReport(
        generated=score(videos, scenes, still_images=still),
        real=score(real, scenes, still_images=still),
        mismatched=score(videos, [*scenes[1:], scenes[0]], still_images=still),
        seconds_per_video=seconds,
        videos=tuple(videos),
    )
