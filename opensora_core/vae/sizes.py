"""Sizes of videos and latents: whether an autoencoder takes them, the nearest that it does, and micro-batches."""

from __future__ import annotations

from ..checks import whole
from ..errors import InvalidInputError
from ..ops import Array


def check_video(video: Array) -> None:
    """InvalidInputError unless video is [B, 3, T, H, W] and has something in it."""
    shape = tuple(video.shape)
    if len(shape) != 5 or shape[1] != 3 or min(shape) < 1:
        raise InvalidInputError(f"the video has shape {shape}, expected [B, 3, T, H, W]")


def check_multiples(height: int, width: int, rows: int, columns: int) -> None:
    """InvalidInputError unless height and width are positive multiples of `rows` and `columns`."""
    if height < rows or width < columns or height % rows or width % columns:
        raise InvalidInputError(
            f"the frame is {height}x{width} pixels, but height must be a positive multiple of {rows} and width of "
            f"{columns}; nearest: {_nearest(height, rows)}x{_nearest(width, columns)}"
        )


def check_least(height: int, width: int, least: int) -> None:
    """InvalidInputError for a frame with a side below `least` pixels, which is less than one latent cell."""
    if min(height, width) < least:
        raise InvalidInputError(
            f"the frame is {height}x{width} pixels, less than one latent cell of {least}x{least}; nearest: "
            f"{max(height, least)}x{max(width, least)}"
        )


def check_whole_groups(num_frames: int, group: int) -> None:
    """InvalidInputError unless num_frames is 1 and a multiple of `group` more: the rest would be lost."""
    whole("num_frames", num_frames, 1)
    if (num_frames - 1) % group:
        nearest = 1 + round((num_frames - 1) / group) * group
        raise InvalidInputError(f"num_frames={num_frames} must be 1 + {group}n; nearest: {nearest}")


def micro_batches(x: Array, size: int | None) -> list[Array]:
    """x [N, ...] in parts of `size` rows, the last one perhaps smaller; None: all in one."""
    rows = x.shape[0]
    step = size or rows
    return [x[start : start + step] for start in range(0, rows, step)]


def check_latents(latents: Array, channels: int) -> None:
    """InvalidInputError unless latents are [B, channels, T', h, w]."""
    shape = tuple(latents.shape)
    if len(shape) != 5 or shape[1] != channels or min(shape) < 1:
        raise InvalidInputError(f"the latents have shape {shape}, expected [B, {channels}, T', h, w]")


def check_held(num_frames: int, needed: int, latent_frames: int) -> None:
    """InvalidInputError unless the latents are as many as num_frames need."""
    if needed != latent_frames:
        raise InvalidInputError(f"num_frames={num_frames} needs {needed} latent frames, got {latent_frames}")


def _nearest(size: int, multiple: int) -> int:
    return max(1, round(size / multiple)) * multiple
