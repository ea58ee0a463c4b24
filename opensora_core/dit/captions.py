"""Steps that all releases of STDiT share: text to keys and values, and tokens back to latents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..derived import rearrange
from ..errors import InvalidInputError
from ..nn.attention import CrossAttention, KeysValues
from ..ops import Array, Ops
from .embedders import CaptionEmbedder, tile_rows


class TextContext(NamedTuple):
    """What the blocks need of the text: computed once per generation, as none of it depends on the timestep."""

    keys_values: tuple[KeysValues, ...]  # one per block, in the order they run
    mask: Array | None  # (B, 1, 1 or tokens, L) booleans
    pooled: Array | None = None  # (B, C), of STDiT3 with a pool_embedder

    def conditional(self) -> TextContext:
        """The first half of the rows: of a guided batch, those with the prompt."""
        rows = self.keys_values[0].keys.shape[0] // 2
        return TextContext(
            tuple(KeysValues(keys[:rows], values[:rows]) for keys, values in self.keys_values),
            None if self.mask is None else self.mask[:rows],
            None if self.pooled is None else self.pooled[:rows],
        )


def null_captions(ops: Ops, embedder: CaptionEmbedder, y: Array) -> Array:
    """The empty caption in the place of text y [..., L, caption]: its shape and dtype, cut to its L tokens.

    It stands for dropped captions in training and for the text of guidance, under the mask of the text itself.
    Raises InvalidInputError for text that is longer or wider than the empty caption.
    """
    null = embedder.y_embedding
    L, width = y.shape[-2:]
    if null.shape[0] < L or width != null.shape[1]:
        raise InvalidInputError(
            f"text of {L} tokens and {width} channels; this model reads at most {null.shape[0]} of {null.shape[1]}"
        )
    rows = ops.reshape(ops.astype(null[:L], y.dtype), (*(1,) * (y.ndim - 2), L, width))
    return ops.broadcast_to(rows, y.shape)


def project_captions(
    ops: Ops,
    embedder: CaptionEmbedder,
    layers: Iterable[CrossAttention],
    y: Array,
    mask: Array | None,
    *,
    embedded: bool = False,
) -> TextContext:
    """Text features y [B, 1, L, caption] or [B, L, caption] to the keys and values of every layer.

    mask [Bm, L]: nonzero for tokens of the prompt; fewer rows than y are tiled whole, so that the unconditional half of
    a guided batch sees as many tokens as the prompt has (as the official code does). None: all tokens.
    embedded: y has been through the embedder already.
    """
    y = caption_rows(ops, embedder, y)
    text = y if embedded else embedder.y_proj(ops, y)  # (B, L, C)
    keep = None if mask is None else tile_rows(ops, ops.astype(mask, "bool"), y.shape[0])
    return TextContext(
        tuple(layer.project_text(ops, text) for layer in layers),
        None if keep is None else ops.reshape(keep, (y.shape[0], 1, 1, -1)),
    )


def caption_rows(ops: Ops, embedder: CaptionEmbedder, y: Array) -> Array:
    """Text features y [B, 1, L, caption] or [B, L, caption] -> [B, L, caption] in the dtype of the model."""
    return ops.astype(ops.reshape(y, (y.shape[0], y.shape[-2], y.shape[-1])), embedder.y_embedding.dtype)


def unpatchify(ops: Ops, x: Array, grid: tuple[int, ...], patch: tuple[int, int, int]) -> Array:
    """Tokens [B, T, S, patch·out] of a grid (T, H, W) -> [B, out, T·pt, H·ph, W·pw]."""
    pt, ph, pw = patch
    return rearrange(ops, x, "b t (h w) (pt ph pw c) -> b c (t pt) (h ph) (w pw)", h=grid[1], pt=pt, ph=ph, pw=pw)
