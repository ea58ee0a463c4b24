"""Ops as one writes them in Torch: eager, by each way of scaled_dot_product_attention, and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

Function = Callable[..., Any]


def attention(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
    """Softmax of all logits at once."""
    logits = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return logits.softmax(-1) @ v


def sdpa(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
    """As Torch chooses."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def attention_3d(
    qkv: Any, pattern: str, q_norm: Any, k_norm: Any, cos: Any = None, sin: Any = None, attend: Function = sdpa
) -> Any:
    """As Open-Sora writes it: norm, rope and attention with the permutations around them."""
    order, back = ((0, 2, 3, 1, 4), (0, 3, 1, 2, 4)) if pattern == "temporal" else ((0, 1, 3, 2, 4), (0, 1, 3, 2, 4))
    q, k, v = (x.permute(order).flatten(0, 1) for x in qkv.unbind(3))  # (B·S, H, T, D) or (B·T, H, S, D)
    q, k = (rms_norm_rotary(x, weight, cos, sin) for x, weight in ((q, q_norm), (k, k_norm)))
    out = attend(q, k, v).unflatten(0, (qkv.shape[0], -1))
    return out.permute(back).contiguous()


def rms_norm_rotary(x: Any, weight: Any, cos: Any, sin: Any) -> Any:
    """Norm in float32, then rope if there are tables."""
    wide = x.float() if x.dtype != torch.float64 else x
    y = (wide * torch.rsqrt((wide * wide).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * weight
    return y if cos is None else rotary(y, cos, sin)


def rotary(x: Any, cos: Any, sin: Any) -> Any:
    """Turn adjacent pairs, in float32."""
    even, odd = (part.float() if x.dtype != torch.float64 else part for part in (x[..., 0::2], x[..., 1::2]))
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2).to(x.dtype)


def modulate(x: Any, shift: Any, scale: Any) -> Any:
    """Torch's norm, then the rest."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def gelu(x: Any) -> Any:
    """The tanh form."""
    return F.gelu(x, approximate="tanh")


def group_norm_silu(x: Any, groups: int, weight: Any, bias: Any) -> Any:
    """Torch's norm, then its SiLU."""
    return F.silu(F.group_norm(x, groups, weight, bias, 1e-6))


def conv(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0) -> Any:
    """Torch's convolution in three dimensions."""
    return F.conv3d(x, weight, bias, stride, padding)


def _eager_attention_3d(*args: Any) -> Any:
    return attention_3d(*args, attend=attention)


def _by(backend: SDPBackend) -> dict[str, Function]:
    """Attention by one of Torch's ways, which raises where it does not fit."""

    def within(function: Function) -> Function:
        def call(*args: Any) -> Any:
            with sdpa_kernel(backend):
                return function(*args)

        return call

    return {name: within(function) for name, function in SDPA.items()}


EAGER: dict[str, Function] = {
    "attention": attention,
    "attention_3d": _eager_attention_3d,
    "linear": F.linear,
    "modulate": modulate,
    "gated_residual": lambda x, branch, gate: x + gate * branch,
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-6),
    "gelu": gelu,
    "softmax": lambda x: F.softmax(x, -1),
    "rms_norm_rotary": rms_norm_rotary,
    "group_norm_silu": group_norm_silu,
    "conv": conv,
}
SDPA: dict[str, Function] = {"attention": sdpa, "attention_3d": attention_3d}
SDPA_MATH = _by(SDPBackend.MATH)
SDPA_FLASH = _by(SDPBackend.FLASH_ATTENTION)
SDPA_EFFICIENT = _by(SDPBackend.EFFICIENT_ATTENTION)
SDPA_CUDNN = _by(SDPBackend.CUDNN_ATTENTION)


class _Compiled(Mapping[str, Function]):
    """The functions compiled, each time they are asked for: many shapes of one would fall back to eager in silence."""

    def __getitem__(self, name: str) -> Function:
        torch.compiler.reset()
        return torch.compile({**EAGER, **SDPA}[name], dynamic=False)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(EAGER)

    def __len__(self) -> int:
        return len(EAGER)


COMPILED = _Compiled()
