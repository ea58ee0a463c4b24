"""T5's encoder with its weights left on the disk: one block at a time is read, cast, used and forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..module import state_dict, to_backend
from ..nn.init import ShapeInit
from ..nn.layers import Embedding, RmsNorm
from ..ops import Array, Ops
from ..serialization.arriving import Offloaded
from ..serialization.pages import forget_pages
from ..serialization.state import check_state
from .t5 import T5Block, T5Encoder, run_blocks
from .t5_config import T5Config

TABLE = "shared.weight"
BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
NORM = "encoder.final_layer_norm.weight"


class StreamedT5:
    """Called like a T5Encoder, with the same result, while the backend holds the weights of one block at most.

    Of T5 v1.1 XXL that is 0.4 GB in bfloat16 in place of 9.5. Every call reads the blocks anew, so encode many prompts
    at once. Of the table of tokens only the rows of the prompts are read.

    weights: by their published names, best memory-mapped, such as an open safetensors file.
    Raises WeightsError unless they are those of the configuration.
    """

    def __init__(self, config: T5Config, weights: Mapping[str, NDArray[Any]]) -> None:
        expected = state_dict(T5Encoder.create(config, ShapeInit()))
        found = {name: weights[name].shape for name in weights}
        check_state({name: leaf.shape for name, leaf in expected.items()}, found)
        self.config, self.weights = config, weights

    def __call__(self, ops: Ops, ids: NDArray[Any], mask: NDArray[Any] | None = None) -> Array:
        """Host integers ids [B, L], mask [B, L] or None -> features [B, L, C] in the backend's dtype."""
        x = ops.asarray(self.weights[TABLE][np.asarray(ids)], ops.dtype)
        forget_pages(self.weights[TABLE])
        bias = to_backend(ops, Embedding(self.weights[BIAS]))
        x = run_blocks(ops, self.config, x, mask, bias, self._block)
        return to_backend(ops, RmsNorm(self.weights[NORM]))(ops, x)

    def _block(self, number: int) -> Offloaded:
        empty = T5Block.create(ShapeInit(), self.config, has_bias=number == 0)
        return Offloaded(empty, self.weights, f"encoder.block.{number}.", None)
