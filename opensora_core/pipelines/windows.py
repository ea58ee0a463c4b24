"""Videos of any length: one window after another, each continuing the last frames of what exists."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import whole
from ..errors import InvalidInputError

CONDITION_FRAMES = 5  # carried from window to window unless told otherwise, or as many as leave room for a new frame


@dataclass(frozen=True)
class Window:
    """One call of the sampler: it makes `num_frames`, of which the first `given` are already there."""

    index: int
    num_frames: int
    given: int

    @property
    def new_frames(self) -> int:
        """How many frames it adds."""
        return self.num_frames - self.given


def plan_windows(
    existing: int, new_frames: int, window_frames: int, condition_frames: int | None, group: int
) -> list[Window]:
    """Cut the generation of `new_frames` after `existing` ones into windows of at most `window_frames`.

    Each window but a very first one is given the last `condition_frames` frames, or as many as exist, rounded down to
    whole groups of the autoencoder: 1, 1 + group, 1 + 2·group ... Raises InvalidInputError when a window would have no
    room for new frames.
    """
    if existing == 0 and new_frames <= window_frames and (condition_frames is None or window_frames == 1):
        return [Window(0, new_frames, 0)]
    if window_frames == 1:
        raise InvalidInputError("this model makes single images: it cannot continue one, nor make more frames than 1")
    if condition_frames is None:
        condition_frames = min(CONDITION_FRAMES, window_frames - 1)
    if whole("condition_frames", condition_frames, 1) >= window_frames:
        raise InvalidInputError(
            f"condition_frames={condition_frames} must be from 1 to {window_frames - 1}: a window holds "
            f"{window_frames} frames and must add at least one"
        )
    windows: list[Window] = []
    while new_frames > 0:
        most = min(existing, condition_frames)
        given = 1 + (most - 1) // group * group if most else 0
        window = Window(len(windows), min(window_frames, given + new_frames), given)
        windows.append(window)
        existing += window.new_frames
        new_frames -= window.new_frames
    return windows
