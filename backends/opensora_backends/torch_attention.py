"""Attention on Torch: its fused kernels, and around them fewer passes over memory than the compositions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from opensora_core.ops import HALF, NEVER, PART_AXES, PATTERNS, Array, Ops, Pattern

SHORT = 64  # up to so many keys, gradients through the weights are faster on the CPU than through the fused kernel


class TorchAttention(Ops):
    """What `TorchOps` overrides of attention."""

    def is_free(self, x: Array) -> bool:
        """Whether steps may write in place and look at numbers: on the CPU, neither compiling nor taking gradients."""
        learns = torch.is_grad_enabled() and x.requires_grad
        return bool(x.device.type == "cpu" and not learns and not torch.compiler.is_compiling())

    def rotary(self, x: Array, cos: Array, sin: Array) -> Array:
        if torch.compiler.is_compiling():  # which makes no kernels of complex numbers
            return super().rotary(x, cos, sin)
        w = self.widen(x)
        turns = torch.complex(self.astype(cos, w.dtype), self.astype(sin, w.dtype))
        return self.astype(torch.view_as_real(_pairs(w) * turns).flatten(-2), x.dtype)

    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        learns = self.device == "cpu" and torch.is_grad_enabled() and q.requires_grad
        if learns and self.dtype_name(q) in HALF:
            return super().attention(q, k, v, mask, scale)
        if mask is None and q.ndim > 4 and q.shape[:-2] == k.shape[:-2]:  # the kernels take four axes
            rows = (x.flatten(0, -4) for x in (q, k, v))
            return self.attention(*rows, scale=scale).unflatten(0, q.shape[:-3])
        if learns and k.shape[-2] <= SHORT:
            out = _through_weights(q, k, v, mask, scale)
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        if mask is None:
            return out
        read = mask.any(-1, keepdim=True)
        if self.is_free(q) and read.all():
            return out
        return torch.where(read, out, 0.0)

    def attention_3d(
        self,
        qkv: Array,
        pattern: Pattern,
        q_norm: Array | None = None,
        k_norm: Array | None = None,
        cos: Array | None = None,
        sin: Array | None = None,
    ) -> Array:
        given = [x for x in (qkv, q_norm, k_norm, cos, sin) if x is not None]
        normed = q_norm is not None and k_norm is not None and q_norm.shape == k_norm.shape == qkv.shape[-1:]
        tables = all(x.ndim == 2 for x in given[3:]) and (cos is None) == (sin is None)
        alike = {x.dtype for x in given} in ({torch.float32}, {torch.float64})
        fits = qkv.numel() and pattern in ("spatial", "temporal") and normed and tables and alike
        if not (fits and all(self.is_free(x) for x in given)):
            return super().attention_3d(qkv, pattern, q_norm, k_norm, cos, sin)
        ready = _normalised(qkv[:, :, :, :2], torch.stack((q_norm, k_norm))[:, None])
        if cos is not None:
            ones = (1, 1, 1) if pattern == "temporal" else (1, 1)  # of the axes [S, 2, H] or [2, H]
            ready = self.rotary(ready, *(x.unflatten(1, (*ones, -1)) for x in (cos, sin)))
        q, k, v = (x.permute(PART_AXES[pattern]) for x in (*ready.unbind(3), qkv[:, :, :, 2]))
        if pattern == "spatial":
            return self.attention(q, k, v).permute(PATTERNS[pattern][1])
        # One sample at a time: places and heads of several would have to be copied together.
        samples = (F.scaled_dot_product_attention(*parts) for parts in zip(q, k, v, strict=True))
        return torch.stack([out.permute(2, 0, 1, 3) for out in samples])


def _normalised(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """RMS norm with the eps of the language's QK-norm; weight broadcasts to x."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return (x * norm.square_().mul_(1 / x.shape[-1]).add_(1e-6).rsqrt_()).mul_(weight)


def _through_weights(q: Array, k: Array, v: Array, mask: Array | None, scale: float | None) -> torch.Tensor:
    """Attention that keeps its weights and nothing more for gradients; a row without keys gets the mean of values."""
    logits = torch.matmul(q, k.transpose(-1, -2)).mul_(q.shape[-1] ** -0.5 if scale is None else scale)
    logits = logits if mask is None else torch.where(mask, logits, NEVER)
    return torch.matmul(torch.softmax(logits, -1), v)


def _pairs(x: torch.Tensor) -> torch.Tensor:
    """Channels (2k, 2k+1) of the last axis as complex numbers; a copy if they lie in memory otherwise."""
    pairs = x.unflatten(-1, (-1, 2))
    aligned = x.stride(-1) == 1 and not any(n % 2 for n in (*x.stride()[:-1], x.storage_offset()))
    return torch.view_as_complex(pairs if aligned else pairs.contiguous())
