"""Runs one generation on two backends in lockstep."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..interpose.lockstep import Lockstep, Mode
from ..ops import Ops
from ..pipelines.opensora import OpenSora
from ..pipelines.request import OPTIONS, Request
from ..pipelines.streaming import Progress
from .report import Report, Side

PROMPT = "a red circle moves right on a blue background"


def parity(
    reference: Ops,
    candidate: Ops,
    prompt: str = PROMPT,
    *,
    model: str | Path | None = None,
    mode: Mode = "own",
    limit: float | None = None,
    zoom: bool = False,
    seed: int = 0,
    tell: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> Report:
    """Generate a video on both backends at once and compare every op, from loading the weights to the pixels.

    reference, candidate: backends in one dtype, each on its own device. model: a folder; by default the embedded model.
    mode, limit, zoom: as for `Lockstep`. tell(done, total) is called after every step. options: as for
    `OpenSora.stream`, such as num_inference_steps, guidance_scale, num_frames, height, width, image.

    A backend that raises, or gives NaN, another shape or dtype, is a finding of the report, not an error.
    Raises InvalidInputError for backends of different dtypes, an unknown mode or option.
    """
    start = time.perf_counter()
    lockstep = Lockstep(reference, candidate, mode=mode, limit=limit, zoom=zoom)
    loaded = OpenSora.from_pretrained(model, backend=lockstep)
    lockstep.places.add(loaded._parts)
    request = Request.create(loaded.config, **{**{name: options.get(name) for name in OPTIONS}, "seed": seed})
    latents = []
    for item in loaded.stream(prompt, seed=seed, check_finite="off", **options):
        if isinstance(item, Progress):
            lockstep.finish_step()
            latents.append(lockstep.compare(item.latents))
            tell(item.step, item.total)
    return Report(
        reference=Side(reference.name, reference.device),
        candidate=Side(candidate.name, candidate.device),
        dtype=reference.dtype,
        mode=mode,
        limit=lockstep.limit,
        settings={"prompt": prompt, **request.settings()},
        latents=tuple(latents),
        drift=lockstep.drift,
        first=lockstep.first,
        seconds=time.perf_counter() - start,
    )
