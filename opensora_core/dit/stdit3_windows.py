"""STDiT3 of Open-Sora v1.3: temporal blocks attend inside windows of space and time, rope in three dimensions, and
frames that are given as clean latents beside the noisy ones.

Parameter names are those of the published checkpoints (hpcai-tech/OpenSora-STDiT-v4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..checks import switch
from ..errors import InvalidInputError
from ..nn.attention import KeysValues, Rope
from ..nn.embeddings import rope_frequencies
from ..nn.init import RandomInit
from ..ops import Array, Ops
from .blocks import STDiT3Block
from .captions import TextContext
from .config import STDiT3Config
from .embedders import PatchEmbedder, RopeFrequencies
from .stdit3 import STDiT3
from .windows import Windows, attend_in_windows


@dataclass(frozen=True)
class WindowedConfig(STDiT3Config):
    """Fields of STDiT3, and the windows; the defaults are those of v1.3.

    kernel_size: the window (height, width, time) in patches, -1 for a whole axis; None: attention along time and rope
    as in v1.2, and then use_spatial_rope is False. skip_temporal: there are no temporal blocks, as for images.
    """

    in_channels: int = 16
    kernel_size: tuple[int, int, int] | None = (8, 8, -1)
    use_spatial_rope: bool = True
    skip_temporal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_size is not None:
            object.__setattr__(self, "kernel_size", tuple(self.kernel_size))
        windows = self.kernel_size is not None
        if windows != self.use_spatial_rope or (windows and self.head_dim % 6):
            raise InvalidInputError(
                f"kernel_size={self.kernel_size}, use_spatial_rope={self.use_spatial_rope} and {self.head_dim} "
                "channels per head: windows and spatial rope go together, with channels per head that are a multiple "
                "of 6"
            )
        switch("skip_temporal", self.skip_temporal)


class GivenFrames(NamedTuple):
    """Frames of the condition: their indices, their clean latents and a mask like these, and the empty caption."""

    indices: tuple[int, ...]
    latents: Array  # (B, in, T, H, W), zero elsewhere
    mask: Array  # (B, in, T, H, W), 1 where given
    null_text: TextContext


@dataclass(frozen=True)
class WindowedBlock(STDiT3Block):
    """A block that attends within frames, or inside windows, with the weights of v1.2's."""

    def __call__(
        self, ops: Ops, x: Array, modulation: Array, text: KeysValues, mask: Array | None, rope: Rope | Windows
    ) -> Array:
        """As in v1.2; with `Windows` in the place of its rope, attention goes by them."""
        if not isinstance(rope, Windows):
            return super().__call__(ops, x, modulation, text, mask, rope)

        def attend(h: Array) -> Array:
            return (
                attend_in_windows(ops, self.attn, h, rope)
                if self.temporal
                else self.attn(ops, h, "spatial", rope.frame)
            )

        return self.around(ops, x, modulation, text, mask, attend)


@dataclass(frozen=True, kw_only=True)
class WindowedSTDiT3(STDiT3):
    """The denoiser of v1.3; the parts it shares with v1.2 are inherited."""

    x_embedder_cond: PatchEmbedder
    x_embedder_cond_mask: PatchEmbedder

    @classmethod
    def create(cls, config: STDiT3Config, init: RandomInit) -> WindowedSTDiT3:
        """Official initialisation; pass a ShapeInit to get a weightless model to load a checkpoint into."""
        parts = dict(vars(STDiT3.create(config, init)))
        if _kernel(config) is not None:
            parts["rope"] = RopeFrequencies(rope_frequencies(config.head_dim // 3).astype("float32"))
        for name in ("spatial_blocks", "temporal_blocks"):
            parts[name] = tuple(WindowedBlock(**vars(block)) for block in parts[name])
        if _skips_temporal(config):
            parts["temporal_blocks"] = ()
        return cls(
            **parts,
            x_embedder_cond=PatchEmbedder.create(init, config, zero=True),
            x_embedder_cond_mask=PatchEmbedder.create(init, config, zero=True),
        )

    def blocks(self) -> list[STDiT3Block]:
        """All blocks in the order they run; with skip_temporal those within frames alone."""
        return list(self.spatial_blocks) if _skips_temporal(self.config) else super().blocks()

    def denoise(
        self,
        ops: Ops,
        x: Array,
        timestep: Array,
        text: TextContext,
        x_mask: Array | None = None,
        fps: Array | None = None,
        height: float = 0,
        width: float = 0,
        given: GivenFrames | None = None,
    ) -> Array:
        """Predict from noisy latents x [B, in, T, H, W], as v1.2 does; returns [B, out, T, H, W], at least float32.

        given: frames whose clean latents are seen beside the noisy ones, and which read the empty caption.
        """
        tokens = self._embed(ops, self.x_embedder, x)
        if given is not None:
            tokens = tokens + self._embed(ops, self.x_embedder_cond, given.latents)
            tokens = tokens + self._embed(ops, self.x_embedder_cond_mask, given.mask)
            text = _per_frame(ops, text, given, tokens.shape[1], tokens.shape[2])
        return self._predict(ops, tokens, x.shape[2:], timestep, text, x_mask, fps, height, width)

    def _places(self, ops: Ops, grid: tuple[int, ...], scale: float) -> Rope | Windows:
        kernel = _kernel(self.config)
        if kernel is None:
            rope: Rope = super()._places(ops, grid, scale)
            return rope
        return Windows.create(ops, grid, kernel, self.rope.freqs, scale)


def _kernel(config: STDiT3Config) -> tuple[int, int, int] | None:
    return config.kernel_size if isinstance(config, WindowedConfig) else None


def _skips_temporal(config: STDiT3Config) -> bool:
    return isinstance(config, WindowedConfig) and config.skip_temporal


def _per_frame(ops: Ops, text: TextContext, given: GivenFrames, num_frames: int, patches: int) -> TextContext:
    """The prompt and the empty caption one after the other, with a mask [B, 1, T·S, 2L]: each frame reads one."""
    is_given = np.repeat(np.isin(np.arange(num_frames), given.indices), patches).reshape(1, 1, -1, 1)
    both = [
        KeysValues(ops.concat([one.keys, null.keys], axis=2), ops.concat([one.values, null.values], axis=2))
        for one, null in zip(text.keys_values, given.null_text.keys_values, strict=True)
    ]
    B, _, L, _ = text.keys_values[0].keys.shape
    masks = []
    for context, reads in ((text, ~is_given), (given.null_text, is_given)):
        shape = (B, 1, num_frames * patches, L)
        mask = ops.full((1,), True, "bool") if context.mask is None else context.mask
        here = ops.broadcast_to(ops.asarray(reads), shape)
        masks.append(ops.where(here, ops.broadcast_to(mask, shape), here))
    return TextContext(tuple(both), ops.concat(masks, axis=3), text.pooled)
