"""The shape of a T5 v1.1 encoder."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..checks import whole
from ..errors import InvalidInputError

FIXED = {  # of T5 v1.1
    "feed_forward_proj": "gated-gelu",
    "dense_act_fn": "gelu_new",
    "is_gated_act": True,
    "layer_norm_epsilon": 1e-6,
}


@dataclass(frozen=True)
class T5Config:
    """Widths and depths, under the names of a published `config.json`; the defaults are those of T5 v1.1 XXL.

    d_model: width of the features. d_kv: channels of a head. d_ff: hidden width of the gated perceptron.
    """

    vocab_size: int = 32128
    d_model: int = 4096
    d_kv: int = 64
    d_ff: int = 10240
    num_layers: int = 24
    num_heads: int = 64
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128

    def __post_init__(self) -> None:
        for field in fields(self):
            whole(field.name, getattr(self, field.name), 1)
        buckets, farthest = self.relative_attention_num_buckets, self.relative_attention_max_distance
        if buckets % 4 or farthest <= buckets // 4:
            raise InvalidInputError(
                f"relative_attention_num_buckets={buckets} must be a multiple of 4 and "
                f"relative_attention_max_distance={farthest} more than a fourth of it"
            )
