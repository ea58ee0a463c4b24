"""The shape of CLIP's text model."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..checks import whole
from ..errors import InvalidInputError

FIXED = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}  # of OpenAI's models


@dataclass(frozen=True)
class CLIPTextConfig:
    """Widths and depths, under the names of a published `config.json`; the defaults are those of ViT-L/14.

    eos_token_id: what ends a prompt; 2 stands for the largest id of the prompt (see `clip.end_positions`).
    """

    vocab_size: int = 49408
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    eos_token_id: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            whole(field.name, getattr(self, field.name), 1)
        if self.hidden_size % self.num_attention_heads:
            raise InvalidInputError(
                f"hidden_size={self.hidden_size} must be a multiple of num_attention_heads={self.num_attention_heads}"
            )
