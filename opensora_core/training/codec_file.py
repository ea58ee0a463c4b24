"""A block codec in a file of its own: its state dict, with the config as metadata."""

from __future__ import annotations

import json
import os

from ..errors import FileFormatError
from ..module import rebuild, state_dict
from ..nn.init import ShapeInit
from ..serialization.reader import open_safetensors
from ..serialization.state import check_state
from ..serialization.writer import write_safetensors
from ..vae.block_codec import BlockCodec, BlockCodecConfig


def save_codec(codec: BlockCodec, path: str | os.PathLike[str]) -> None:
    """Write the state dict (NumPy arrays), whole or not at all."""
    write_safetensors(path, state_dict(codec), {"config": json.dumps(codec.config.to_dict(), sort_keys=True)})


def load_codec(path: str | os.PathLike[str]) -> BlockCodec:
    """Read what `save_codec` wrote; weights are NumPy arrays, mapped from the file.

    Raises FileFormatError when the file is damaged or holds no codec, WeightsError when its weights do not fit its
    config.
    """
    weights = open_safetensors(path)
    if "config" not in weights.metadata:
        raise FileFormatError(f"{os.fspath(path)}: no 'config' in the metadata; expected a file of `save_codec`")
    config = BlockCodecConfig.from_dict(json.loads(weights.metadata["config"]))
    template = BlockCodec.create(ShapeInit(), config)
    check_state({name: leaf.shape for name, leaf in state_dict(template).items()}, weights.shapes)
    return rebuild(template, weights)
