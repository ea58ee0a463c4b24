"""Finding the components of a block codec: the covariance of blocks, summed up clip by clip."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .block_codec import BlockCodec, BlockCodecConfig, to_blocks

WEAKEST = 0.25
"""Components that spread less than this count as if they spread this much, lest their noise be blown up for nothing."""

SOFTNESS = 2.8
"""Latents are components over SOFTNESS times the root of their spread: the colours of a block keep a spread of 1.3, its
finest details of 0.2. With all at 1 a small denoiser spends itself on details before it knows where the object is."""


def fit(ops: Ops, videos: Iterable[Array], config: BlockCodecConfig) -> BlockCodec:
    """A codec without refiner whose components explain most of the videos' variance (Pearson 1901).

    videos: arrays [B, 3, T, H, W] in [-1, 1] of any sizes the block divides; each is used once and not kept.
    Weights are NumPy float32. Raises InvalidInputError for fewer blocks than components.
    """
    D = config.block_size
    total, products, count = np.zeros(D), np.zeros((D, D)), 0
    for video in videos:
        blocks = ops.to_numpy(to_blocks(ops, video, config.block)).reshape(-1, D)
        total += blocks.sum(axis=0, dtype=np.float64)
        products += blocks.T @ blocks
        count += len(blocks)
    if count <= config.latent_channels:
        raise InvalidInputError(f"{count} blocks are too few to find {config.latent_channels} components")
    mean = total / count
    basis, spread = _principal_components(products / count - np.outer(mean, mean), config.latent_channels)
    scale = SOFTNESS * np.sqrt(np.maximum(spread, WEAKEST))
    return BlockCodec(mean.astype(np.float32), basis.astype(np.float32), scale.astype(np.float32), config)


def latent_spread(codec: BlockCodec) -> NDArray[np.float32]:
    """Standard deviation [C] of each latent channel of a fitted codec over the clips it was fitted to."""
    return np.asarray(codec.scale, np.float32) / np.float32(SOFTNESS**2)


def _principal_components(
    covariance: NDArray[np.float64], components: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows [C, D] by falling variance, each with its largest entry positive, and their standard deviations [C]."""
    variances, vectors = np.linalg.eigh(covariance)  # rising
    strongest = np.argsort(-variances)[:components]
    basis = vectors[:, strongest].T
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1)
    return basis * np.sign(largest), np.sqrt(np.maximum(variances[strongest], 0.0))
