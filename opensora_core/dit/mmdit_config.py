"""Configuration of MMDiT under the names of the official code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError


@dataclass(frozen=True)
class MMDiTConfig:
    """Shape of an MMDiT; the defaults are those of Open-Sora v2.0, `flux` gives those of Flux.

    axes_dim: channels per head turned by time, row and column. qkv_bias: biases of the double blocks' projections.
    guidance_embed: the guidance scale is an input, as of distilled models. cond_embed: given frames are an input.
    fused_qkv: one projection for queries, keys and values. use_liger_rope: rope turns channels m and m + D/2 of a head
    together, and otherwise neighbours.
    """

    in_channels: int = 64
    vec_in_dim: int = 768
    context_in_dim: int = 4096
    hidden_size: int = 3072
    mlp_ratio: float = 4.0
    num_heads: int = 24
    depth: int = 19
    depth_single_blocks: int = 38
    axes_dim: tuple[int, int, int] = (16, 56, 56)
    theta: int = 10000
    patch_size: int = 2
    qkv_bias: bool = True
    guidance_embed: bool = False
    cond_embed: bool = True
    fused_qkv: bool = False
    use_liger_rope: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes_dim", tuple(self.axes_dim))
        D = self.hidden_size // self.num_heads
        odd = any(d % 2 for d in self.axes_dim)
        if self.hidden_size % self.num_heads or sum(self.axes_dim) != D or odd:
            raise InvalidInputError(
                f"axes_dim={self.axes_dim} must be even and sum to the {D} channels per head of hidden_size="
                f"{self.hidden_size} and num_heads={self.num_heads}"
            )

    @property
    def cond_channels(self) -> int:
        """Channels of a packed condition: the latents of given frames and their mask."""
        return self.in_channels + self.patch_size**2

    @classmethod
    def flux(cls, **changes: Any) -> MMDiTConfig:
        """FLUX.1-dev, the image model whose layout v2.0 began from; changes: fields that differ."""
        layout = {"guidance_embed": True, "cond_embed": False, "fused_qkv": True, "use_liger_rope": False}
        return cls(**{**layout, **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MMDiTConfig:
        """From an official configuration; InvalidInputError for a field that is not known."""
        if unknown := sorted(values.keys() - cls.__dataclass_fields__.keys()):
            raise InvalidInputError(f"unknown MMDiT config fields {unknown}; known: {sorted(cls.__dataclass_fields__)}")
        return cls(**values)
