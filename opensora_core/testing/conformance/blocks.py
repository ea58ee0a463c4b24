"""The parts of the model as programs: attention, transformer blocks, embedders, codec and text encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...dit.blocks import FinalLayer, STDiT3Block
from ...dit.config import STDiT3Config
from ...dit.embedders import CaptionEmbedder, PatchEmbedder, masked_mean
from ...nn.attention import CrossAttention, Rope, SelfAttention
from ...nn.init import ShapeInit
from ...nn.layers import ScalarEmbedder
from ...ops import PATTERNS, Array, Ops
from ...text.encoder import TextEncoder, TextEncoderConfig
from ...vae.block_codec import BlockCodec, BlockCodecConfig
from ..table import DTYPES
from .program_group import Inputs, Program, Size, draw, weights_of, with_module

Rng = np.random.Generator
C, HEADS, CAPTION, TOKENS = 24, 2, 10, 5
CONFIG = STDiT3Config(
    in_channels=3, hidden_size=C, depth=2, num_heads=HEADS, caption_channels=CAPTION, model_max_length=TOKENS,
    input_sq_size=64, frame_time_fps=8.0, pooled_caption=True,
)  # fmt: skip
CODEC = BlockCodecConfig(latent_channels=5, block=(2, 2, 2), refiner_width=6, refiner_depth=1)
TEXT = TextEncoderConfig(vocabulary=11, max_length=TOKENS, hidden_size=16, depth=2, num_heads=2)


def block_programs() -> Iterator[Program]:
    """All programs of the level "blocks"."""
    for pattern in PATTERNS:
        yield _program(f"attention_{pattern}", _self_attention(), _attend(pattern), _tokens_and_rope(pattern))
    yield _program("cross_attention", CrossAttention.create(ShapeInit(), C, HEADS), _cross_attend, _tokens_and_text)
    for temporal in (False, True):
        block = STDiT3Block.create(ShapeInit(), CONFIG, temporal=temporal)
        yield _program(f"{'temporal' if temporal else 'spatial'}_block", block, _run_block, _block_inputs)
    yield _program("patch_embedder", PatchEmbedder.create(ShapeInit(), CONFIG), _embed_patches, _whole_patches)
    yield _program("timestep_embedder", ScalarEmbedder.create(ShapeInit(), C), _embed_times, _times)
    yield _program("caption_embedder", CaptionEmbedder.create(ShapeInit(), CONFIG), _embed_caption, _caption)
    yield _program("final_layer", FinalLayer.create(ShapeInit(), CONFIG), _finish, _final_inputs)
    yield _program("codec_encode", _codec(), lambda ops, codec, x: codec.encode(ops, x), _video)
    yield _program("codec_decode", _codec(), lambda ops, codec, z: codec.decode(ops, z), _latents)
    yield _program("text_encoder", TextEncoder.create(TEXT, ShapeInit()), _encode_text, _words)


def text_mask(B: int) -> Array:
    """Mask [B, L] of captions of 1, 2, ... tokens; the last of several has none at all."""
    return np.arange(TOKENS) < (np.arange(1, B + 1) % max(B, 2))[:, None]


def _program(title: str, module: Any, use: Callable[..., Any], inputs: Inputs) -> Program:
    def draw_all(rng: Rng, size: Size) -> tuple[Any, ...]:
        return (weights_of(module, rng), *inputs(rng, size))

    return Program("blocks", title, with_module(module, use), draw_all, DTYPES)


def _self_attention() -> SelfAttention:
    return SelfAttention.create(ShapeInit(), C, HEADS, qk_norm=True)


def _codec() -> BlockCodec:
    return BlockCodec.create(ShapeInit(), CODEC)


# ---------------------------------------------------------------------- attention


def _attend(pattern: Any) -> Callable[..., Array]:
    return lambda ops, attention, x, cos, sin: attention(ops, x, pattern, Rope(cos, sin))


def _tokens_and_rope(pattern: str) -> Inputs:
    def inputs(rng: Rng, size: Size) -> tuple[Any, ...]:
        B, T, H, W = size
        return draw(rng, B, T, H * W, C), *_rope({"spatial": H * W, "temporal": T, "full": T * H * W}[pattern])

    return inputs


def _rope(length: int) -> tuple[Array, Array]:
    angles = np.outer(np.arange(length), 10.0 ** -np.linspace(0, 2, C // HEADS // 2)).astype(np.float32)
    return np.cos(angles), np.sin(angles)


def _cross_attend(ops: Ops, attention: CrossAttention, x: Array, text: Array, mask: Array) -> Array:
    return attention(ops, x, attention.project_text(ops, text), mask)


def _tokens_and_text(rng: Rng, size: Size) -> tuple[Any, ...]:
    B, T, H, W = size
    return draw(rng, B, T, H * W, C), draw(rng, B, TOKENS, C), text_mask(B)[:, None, None]


def _run_block(ops: Ops, block: STDiT3Block, x: Array, c: Array, text: Array, mask: Array, *rope: Array) -> Array:
    return block(ops, x, c, block.cross_attn.project_text(ops, text), mask, Rope(*rope))


def _block_inputs(rng: Rng, size: Size) -> tuple[Any, ...]:
    B, T, H, W = size
    x, modulation, text = draw(rng, B, T, H * W, C), draw(rng, B, T, 6, C), draw(rng, B, TOKENS, C)
    return x, modulation, text, text_mask(B)[:, None, None], *_rope(T)


# ---------------------------------------------------------------------- what enters and leaves the blocks


def _embed_patches(ops: Ops, embedder: PatchEmbedder, x: Array) -> Array:
    return embedder.proj(ops, x)


def _whole_patches(rng: Rng, size: Size) -> tuple[Any, ...]:
    B, T, H, W = size
    return (draw(rng, B, 3, T, 2 * H, 2 * W),)


def _embed_times(ops: Ops, embedder: ScalarEmbedder, t: Array, like: Array) -> Array:
    return embedder(ops, t, ops.dtype_name(like))


def _times(rng: Rng, size: Size) -> tuple[Any, ...]:
    return np.linspace(0.5, 999.0, size[0] + 2).astype(np.float32), draw(rng, 1)


def _embed_caption(ops: Ops, embedder: CaptionEmbedder, y: Array, keep: Array) -> tuple[Array, Array]:
    return embedder.y_proj(ops, y), masked_mean(ops, y, keep)


def _caption(rng: Rng, size: Size) -> tuple[Any, ...]:
    return draw(rng, size[0], TOKENS, CAPTION), text_mask(size[0])


def _finish(ops: Ops, layer: FinalLayer, x: Array, t: Array, t0: Array, x_mask: Array) -> Array:
    return layer(ops, x, t, t0, x_mask)


def _final_inputs(rng: Rng, size: Size) -> tuple[Any, ...]:
    B, T, H, W = size
    given = (np.arange(B * T) % 3 > 0).reshape(B, T, 1, 1)
    return draw(rng, B, T, H * W, C), draw(rng, B, C), draw(rng, B, C), given


# ---------------------------------------------------------------------- codec and text


def _video(rng: Rng, size: Size) -> tuple[Any, ...]:
    B, T, H, W = size
    return (np.tanh(draw(rng, B, 3, T, 2 * H, 2 * W)),)


def _latents(rng: Rng, size: Size) -> tuple[Any, ...]:
    B, T, H, W = size
    return (draw(rng, B, 5, T, H, W),)


def _encode_text(ops: Ops, encoder: TextEncoder, ids: Array, mask: Array) -> Array:
    return encoder(ops, ids, mask)


def _words(rng: Rng, size: Size) -> tuple[Any, ...]:
    return rng.integers(0, TEXT.vocabulary, (size[0], TOKENS)), text_mask(size[0])
