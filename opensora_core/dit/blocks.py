"""The transformer block of STDiT3 and its last layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..derived import split
from ..module import static
from ..nn.attention import CrossAttention, KeysValues, Rope, SelfAttention
from ..nn.init import RandomInit
from ..nn.layers import Linear, Mlp
from ..ops import Array, Ops
from .config import STDiT3Config


class Modulation(NamedTuple):
    """Shift, scale and gate of attention and MLP, each (B, 1 or T, 1, C)."""

    shift_attn: Array
    scale_attn: Array
    gate_attn: Array
    shift_mlp: Array
    scale_mlp: Array
    gate_mlp: Array


@dataclass(frozen=True)
class STDiT3Block:
    """Modulated self-attention along one pattern, cross-attention to the text, modulated MLP."""

    scale_shift_table: Array  # (6, C)
    attn: SelfAttention
    cross_attn: CrossAttention
    mlp: Mlp
    temporal: bool = static()

    @classmethod
    def create(cls, init: RandomInit, config: STDiT3Config, *, temporal: bool) -> STDiT3Block:
        """Official initialisation: the residual branches of temporal blocks start at zero."""
        C, H = config.hidden_size, config.num_heads
        return cls(
            init.normal((6, C), C**-0.5),
            SelfAttention.create(init, C, H, qk_norm=config.qk_norm, zero_output=temporal),
            CrossAttention.create(init, C, H, zero_output=temporal),
            Mlp.create(init, C, int(C * config.mlp_ratio), C, zero_output=temporal),
            temporal,
        )

    def __call__(
        self, ops: Ops, x: Array, modulation: Array, text: KeysValues, mask: Array | None, rope: Rope
    ) -> Array:
        """x [B, T, S, C], modulation [B, 1 or T, 6, C] -> [B, T, S, C]."""

        def attend(h: Array) -> Array:
            return self.attn(ops, h, "temporal", rope) if self.temporal else self.attn(ops, h, "spatial")

        return self.around(ops, x, modulation, text, mask, attend)

    def around(
        self,
        ops: Ops,
        x: Array,
        modulation: Array,
        text: KeysValues,
        mask: Array | None,
        attend: Callable[[Array], Array],
    ) -> Array:
        """The block around any attention among the tokens; shapes as in a call."""
        m = Modulation(*split(ops, modulation + self.scale_shift_table, 6, axis=2))
        x = ops.gated_residual(x, attend(ops.modulate(x, m.shift_attn, m.scale_attn)), m.gate_attn)
        x = x + self.cross_attn(ops, x, text, mask)
        h = self.mlp(ops, ops.modulate(x, m.shift_mlp, m.scale_mlp))
        return ops.gated_residual(x, h, m.gate_mlp)


@dataclass(frozen=True)
class FinalLayer:
    """Modulated projection of tokens to patches."""

    scale_shift_table: Array  # (2, C)
    linear: Linear

    @classmethod
    def create(cls, init: RandomInit, config: STDiT3Config) -> FinalLayer:
        """Return the layer in front of patches of `config.out_channels` channels."""
        C = config.hidden_size
        patch = math.prod(config.patch_size) * config.out_channels
        return cls(init.normal((2, C), C**-0.5), Linear.create(init, C, patch))

    def __call__(self, ops: Ops, x: Array, t: Array, t0: Array | None, x_mask: Array | None) -> Array:
        """x [B, T, S, C], t and t0 [B, C], x_mask [B, T, 1, 1] -> [B, T, S, patch·out]."""
        out = self._modulate(ops, x, t)
        if x_mask is not None:
            # Official quirk: frames of the condition are modulated a second time, by the vector of timestep 0.
            out = ops.where(x_mask, out, self._modulate(ops, out, t0))
        return self.linear(ops, out)

    def _modulate(self, ops: Ops, x: Array, t: Array) -> Array:
        B, C = t.shape
        table = ops.reshape(self.scale_shift_table, (1, 2, 1, C))
        shift, scale = split(ops, ops.reshape(t, (B, 1, 1, C)) + table, 2, axis=1)  # (B, 1, 1, C)
        return ops.modulate(x, shift, scale)
