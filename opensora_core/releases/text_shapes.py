"""Published text models by the names and shapes of their weights: configurations, and which weights are theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..text.t5_streamed import BIAS, TABLE
from .shapes import Shapes, Values, count

T5_ALIAS = "encoder.embed_tokens.weight"  # the same table, under the name by which the encoder uses it
T5_DECODER = ("decoder.", "lm_head.")
CLIP_PREFIX = "text_model."
CLIP_HEAD = 64  # channels of an attention head in all of OpenAI's models


def t5(shapes: Shapes) -> Values:
    """The encoder of T5 v1.1, of a file that may hold the decoder too."""
    own = t5_weights(shapes)
    buckets, heads = own[BIAS]
    vocabulary, width = own[TABLE]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": own["encoder.block.0.layer.0.SelfAttention.q.weight"][0] // heads,
        "d_ff": own["encoder.block.0.layer.1.DenseReluDense.wo.weight"][1],
        "num_layers": count(own, "encoder.block"),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
    }


def clip(shapes: Shapes) -> Values:
    """CLIP's text model, of a file that may hold the image model too, or of one that leaves out its prefix."""
    shapes = clip_weights(shapes)
    vocabulary, width = shapes[f"{CLIP_PREFIX}embeddings.token_embedding.weight"]
    layers = f"{CLIP_PREFIX}encoder.layers"
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes[f"{layers}.0.mlp.fc1.weight"][0],
        "num_hidden_layers": count(shapes, layers),
        "num_attention_heads": max(1, width // CLIP_HEAD),
        "max_position_embeddings": shapes[f"{CLIP_PREFIX}embeddings.position_embedding.weight"][0],
    }


def t5_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the encoder, the table of tokens once."""
    own = {name: array for name, array in weights.items() if not name.startswith(T5_DECODER)}
    table = own.pop(T5_ALIAS, None)
    return own if table is None else {TABLE: table, **own}


def clip_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the text model, with its prefix."""
    own = {name: array for name, array in weights.items() if name.startswith(CLIP_PREFIX)}
    return own or {f"{CLIP_PREFIX}{name}": array for name, array in weights.items()}
