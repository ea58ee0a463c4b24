"""Official text models of the package `transformers`, small and random, with their weights as NumPy arrays."""

from __future__ import annotations

import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

SMALL_T5 = {
    "vocab_size": 50, "d_model": 24, "d_kv": 5, "d_ff": 32, "num_layers": 3, "num_heads": 4,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12,
}  # fmt: skip
SMALL_CLIP = {
    "vocab_size": 60, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3,
    "max_position_embeddings": 9, "eos_token_id": 2,
}  # fmt: skip


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """The model with weights that are nowhere zero or one, float32."""
    draw = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.data = 0.3 * torch.randn(weight.shape, generator=draw) + (1.0 if weight.ndim == 1 else 0.0)
    return model.eval()


def official_t5() -> torch.nn.Module:
    return shaken(T5EncoderModel(T5Config(**SMALL_T5, feed_forward_proj="gated-gelu")))


def official_clip(**changed: int) -> torch.nn.Module:
    ends = {"bos_token_id": 0, "pad_token_id": 1}
    return shaken(CLIPTextModel(CLIPTextConfig(**{**SMALL_CLIP, **changed}, **ends)))


def weights(model: torch.nn.Module, prefix: str = "") -> dict[str, np.ndarray]:
    return {prefix + name: tensor.numpy() for name, tensor in model.state_dict().items()}


def in_float64(model: torch.nn.Module) -> torch.nn.Module:
    """The same model, all of it in float64: `transformers` takes the square mean of T5's norm in float32 always."""
    for module in model.modules():
        if type(module).__name__ == "T5LayerNorm":
            module.forward = lambda x, m=module: (
                m.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + m.variance_epsilon)
            )
    return model.double()


def far(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(found.astype(np.float64) - truth).max())
