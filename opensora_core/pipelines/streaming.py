"""Running a request window by window, as an iterator that reports every sampler step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dit.captions import TextContext
from ..errors import CancelledError
from ..ops import Array, Ops
from .components import Components
from .finite import CheckFinite
from .frames import Frames, keep_still, padded_size, to_frames, to_latents
from .generation import Given, Prompt, sample_window, text_context
from .request import Request
from .windows import Window, plan_windows


class Progress(NamedTuple):
    """State of a running generation after one sampler step."""

    step: int  # finished steps over all windows
    total: int
    timestep: float
    latents: Array  # of the present window
    denoised: Array  # the model's present guess of the clean latents
    preview: Callable[[], NDArray[np.uint8]]  # decodes that guess: uint8 [T, H, W, 3]

    def tell(self, callback: Callable[..., Any] | None, model: Any, fields: Sequence[str]) -> None:
        """Call callback(model, step, timestep, {field: its value}) if there is one; CancelledError if it says False."""
        if callback is None:
            return
        if callback(model, self.step, self.timestep, {name: getattr(self, name) for name in fields}) is False:
            raise CancelledError(f"the callback stopped the generation after step {self.step} of {self.total}")


def run(
    ops: Ops,
    parts: Components,
    request: Request,
    prompt: Prompt,
    frames: Frames,
    *,
    condition_frames: int | None,
    redraw_given: bool,
    check_finite: CheckFinite,
) -> Iterator[Progress | Frames]:
    """Generate until there are request.num_frames; yields Progress after every step and all the frames at the end.

    frames [T, H, W, 3]: what the video begins with, possibly nothing. redraw_given: put them out as the autoencoder
    gives them back, so that a single image matches what follows; otherwise they stay bit for bit.
    """
    config = parts.config
    new = request.num_frames - len(frames)
    windows = plan_windows(len(frames), new, config.num_frames, condition_frames, config.codec.block[0])
    if redraw_given and not windows:
        size = (len(frames), request.height, request.width)
        frames = to_frames(ops, parts, ops.asarray(to_latents(ops, parts, frames[None])), *size)[0]
    context = text_context(ops, parts, prompt, request.guidance_scale)
    pieces, last = [frames], frames
    for window in windows:
        given = last[len(last) - window.given :]
        redrawn = redraw_given and window.index == 0
        for item in _run_window(ops, parts, request, context, given, window, len(windows), check_finite):
            if isinstance(item, Progress):
                yield item
                continue
            shown = item[: window.given] if redrawn else given
            if redrawn:
                pieces[0] = shown
            pieces.append(keep_still(item, shown, config.still_levels))
            last = np.concatenate([shown, pieces[-1]])
    yield np.concatenate(pieces)


def _run_window(
    ops: Ops,
    parts: Components,
    request: Request,
    context: TextContext,
    given: Frames,
    window: Window,
    windows: int,
    check_finite: CheckFinite,
) -> Iterator[Progress | Frames]:
    rows, columns = parts.config.codec.block[1:]
    height, width = padded_size(parts.config, request.height, request.width)
    latent_frames = parts.codec.latent_frames(window.num_frames)

    def decode(latents: Array) -> Frames:
        size = (window.num_frames, request.height, request.width)
        frames: Frames = to_frames(ops, parts, latents, *size)[0]
        return frames

    steps = sample_window(
        ops,
        parts,
        request,
        context,
        latent_frames=latent_frames,
        latent_size=(height // rows, width // columns),
        given=_given_latents(ops, parts, given, latent_frames),
        window=window.index,
        check_finite=check_finite,
    )
    per_window = request.num_inference_steps
    for step in steps:
        done, guess = window.index * per_window + step.number + 1, step.denoised
        latents = step.latents
        yield Progress(done, windows * per_window, step.timestep, latents, guess, partial(decode, guess))
    yield decode(latents)


def _given_latents(ops: Ops, parts: Components, given: Frames, latent_frames: int) -> Given | None:
    if len(given) == 0:
        return None
    known = to_latents(ops, parts, given[None])  # (1, C, T', h, w)
    n = known.shape[2]
    latents = np.zeros((*known.shape[:2], latent_frames, *known.shape[3:]), np.float32)
    latents[:, :, :n] = known
    mask = np.ones((1, latent_frames), np.float32)
    mask[:, :n] = 0.0
    return Given(latents, mask)
