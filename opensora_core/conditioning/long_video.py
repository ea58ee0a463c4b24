"""Long videos of Open-Sora v1.2: clip after clip, each going on from the last frames of the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .mask_strategy import MaskGroup, apply_mask_strategy

CHUNK_LATENTS, CHUNK_FRAMES = 5, 17  # latent frames of a chunk of the autoencoder, and the frames it holds

Sample = Callable[[int, Array, NDArray[np.float64]], Array]
"""sample(loop, noise [B, C, T, H, W] with given frames in it, mask [B, T]) -> latents"""


def frames_of_chunks(latent_frames: int) -> int:
    """Frames that whole chunks of latent frames hold, 17 for every 5; InvalidInputError where they are not whole."""
    if latent_frames < 1 or latent_frames % CHUNK_LATENTS:
        below = latent_frames // CHUNK_LATENTS * CHUNK_LATENTS
        raise InvalidInputError(
            f"condition_frame_length={latent_frames} must be a multiple of the {CHUNK_LATENTS} latent frames of a "
            f"chunk; nearest: {below or CHUNK_LATENTS}"
        )
    return latent_frames // CHUNK_LATENTS * CHUNK_FRAMES


def loop_video(
    ops: Ops,
    loops: int,
    noise: Callable[[int], Array],
    sample: Sample,
    encode: Callable[[Array], Array],
    decode: Callable[[Array], Array],
    references: Sequence[Sequence[Array]],
    strategies: Sequence[Sequence[MaskGroup]],
    *,
    condition_frame_length: int = 5,
    condition_frame_edit: float = 0.0,
    align: int | None = 5,
) -> Array:
    """Generate `loops` clips and join them in time: [B, 3, T, H, W].

    noise(loop): [B, C, T', h, w]. sample: usually `euler` with the text of that loop, see `text_of_loop`.
    encode, decode: the autoencoder, videos [B, 3, T, H, W] to latents and back. references, strategies: of each
    sample, see `apply_mask_strategy`. From the second loop on, the whole clip before is encoded as one more reference,
    of which the last condition_frame_length latent frames come first, to be changed from the time
    condition_frame_edit on; their frames are left out of the video. Raises InvalidInputError for a length that is no
    multiple of 5.
    """
    overlap = frames_of_chunks(condition_frame_length)
    known, groups = [list(row) for row in references], [list(row) for row in strategies]
    clips: list[Array] = []
    for loop in range(loops):
        if clips:
            latents = encode(clips[-1])
            for b, (row, group) in enumerate(zip(known, groups, strict=True)):
                row.append(latents[b])
                group.append(continuation(loop, len(row) - 1, condition_frame_length, condition_frame_edit))
        z, mask = apply_mask_strategy(ops, noise(loop), known, groups, loop, align)
        clips.append(decode(sample(loop, z, mask)))
    return ops.concat([clips[0], *(clip[:, :, overlap:] for clip in clips[1:])], axis=2)


def continuation(loop: int, reference: int, length: int, edit_ratio: float = 0.0) -> MaskGroup:
    """The placing of the last frames of a reference at the start of a loop."""
    return MaskGroup(loop, reference, -length, 0, length, edit_ratio)
