"""Finding the components of a block codec: the covariance of blocks, summed up clip by clip."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .block_codec import BlockCodec, BlockCodecConfig, to_blocks

WEAKEST = 0.25
"""Components that spread less than this are divided by it, lest noise in the latents be blown up for nothing."""


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
    scale = np.maximum(spread, WEAKEST)
    return BlockCodec(mean.astype(np.float32), basis.astype(np.float32), scale.astype(np.float32), config)


def _principal_components(
    covariance: NDArray[np.float64], components: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows [C, D] by falling variance, each with its largest entry positive, and their standard deviations [C]."""
    variances, vectors = np.linalg.eigh(covariance)  # rising
    strongest = np.argsort(-variances)[:components]
    basis = vectors[:, strongest].T
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1)
    return basis * np.sign(largest), np.sqrt(np.maximum(variances[strongest], 0.0))
