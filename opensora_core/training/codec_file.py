"""A block codec in a file of its own: its state dict, with the config as metadata."""

from __future__ import annotations

import os

from ..module import state_dict
from ..nn.init import ShapeInit
from ..serialization.single import load_single, save_single
from ..serialization.state import fill
from ..vae.block_codec import BlockCodec, BlockCodecConfig


def save_codec(codec: BlockCodec, path: str | os.PathLike[str]) -> None:
    """Write the state dict (NumPy arrays), whole or not at all."""
    save_single(path, codec.config.to_dict(), state_dict(codec))


def load_codec(path: str | os.PathLike[str]) -> BlockCodec:
    """Read what `save_codec` wrote; weights are NumPy arrays, mapped from the file.

    Raises FileFormatError when the file is damaged or holds no codec, WeightsError when its weights do not fit its
    config.
    """
    config, weights = load_single(path)
    return fill(BlockCodec.create(ShapeInit(), BlockCodecConfig.from_dict(config)), weights)
