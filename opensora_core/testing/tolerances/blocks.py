"""Blocks of the model as entries of the op table: the same rule says how far off a whole block may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from hypothesis.strategies import SearchStrategy

from ...dit.blocks import STDiT3Block
from ...dit.config import STDiT3Config
from ...module import named_leaves, rebuild
from ...nn.attention import KeysValues, Rope
from ...nn.init import ShapeInit
from ...ops import Array, Ops
from ..references import Reference, ReferenceOps
from ..strategies import Call, Source
from ..strategies.source import strategy
from ..table import OpCase

CONFIG = STDiT3Config(hidden_size=24, num_heads=3, depth=1, mlp_ratio=2.0, caption_channels=8, model_max_length=8)


@dataclass(frozen=True)
class BlockCase(OpCase):
    """How a block is tested; its calls are (function, *arrays), to be run as function(ops, *arrays)."""

    @property
    def reference(self) -> Reference:
        """The block on a backend made of the references of the ops."""
        return _on_references


def block_calls(temporal: bool) -> SearchStrategy[Call]:
    """(function, x [B, T, S, C], modulation [B, 1, 6, C], keys, values, text mask, cos, sin, *weights)."""
    C, D = CONFIG.hidden_size, CONFIG.head_dim
    template = STDiT3Block.create(ShapeInit(), CONFIG, temporal=temporal)
    shapes = {name: leaf.shape for name, leaf in named_leaves(template)}

    def build(s: Source) -> Call:
        B, T, S, L = s.size(1, 2), s.size(1, 4), s.size(1, 5), s.size(1, 6)
        text = s.unit(B, CONFIG.num_heads, L, D), s.unit(B, CONFIG.num_heads, L, D)
        angles = s.rng.uniform(0, 100, (T, D // 2))
        rope = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        weights = [s.unit(*shape) / np.sqrt(max(shape[-1], 1)) for shape in shapes.values()]
        inputs = s.normal(B, T, S, C), 0.3 * s.unit(B, 1, 6, C)
        function = partial(_run, template, tuple(shapes))
        return Call((function, *inputs, *text, s.mask(B, 1, 1, L), *rope, *weights))

    return strategy(build)


def _on_references(function: Callable[..., Array], *arrays: Array) -> Array:
    return function(ReferenceOps(), *arrays)


def _run(
    template: STDiT3Block, names: tuple[str, ...], ops: Ops,
    x: Array, modulation: Array, keys: Array, values: Array, mask: Array, cos: Array, sin: Array, *weights: Array,
) -> Array:  # fmt: skip
    block = rebuild(template, dict(zip(names, weights, strict=True)))
    return block(ops, x, modulation, KeysValues(keys, values), mask, Rope(cos, sin))


BLOCKS = {
    case.name: case
    for case in (
        BlockCase("stdit3_spatial", block_calls(temporal=False)),
        BlockCase("stdit3_temporal", block_calls(temporal=True)),
    )
}
