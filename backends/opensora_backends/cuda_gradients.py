"""Gradients by the backward kernels of `opensora_kernels.cuda`, for which the tape asks before it uses a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from opensora_core.autodiff.fused_rules import once
from opensora_core.autodiff.rules import Back, fit
from opensora_core.ops import Array, Ops
from opensora_kernels.cuda.attention import AttentionKernels
from opensora_kernels.cuda.attention_backward import AttentionGradients
from opensora_kernels.cuda.attention_layout import key_lengths
from opensora_kernels.cuda.group_norm_gradients import GroupNormGradients
from opensora_kernels.cuda.norm_gradients import NormGradients
from opensora_kernels.cuda.norms import is_vectors

from .cuda_kernels import Kernels


class GradientsByKernels(Ops):
    """The tape's hook: an op and its maps back in one, where forward and backward share what they keep."""

    xp: Any
    _kernels: Kernels
    _attention: AttentionKernels
    _attention_gradients: AttentionGradients
    _norm_gradients: NormGradients
    _group_norm_gradients: GroupNormGradients

    def with_gradient(self, op: str, args: tuple[Any, ...]) -> tuple[Array, Sequence[Back | None]] | None:
        """Result and maps back of an op on all its arguments, or None where a rule of the language is to serve."""
        if op in ("layer_norm", "rms_norm", "modulate"):
            return self._norm_with_gradient(op, args)
        if op in ("group_norm", "group_norm_silu"):
            return self._group_norm_with_gradient(op, args)
        if op != "attention":
            return None
        q, k, v, mask, scale = args
        layout = {"head_dim": q.shape[-1], "length": k.shape[-2], "masked": mask is not None}
        if not self._kernels.choose("attention gradient", self.dtype_name(q), **layout).kernel:
            return None
        return self._attention_with_gradient(q, k, v, mask, scale)

    def _attention_with_gradient(
        self, q: Array, k: Array, v: Array, mask: Array | None, scale: float | None
    ) -> tuple[Array, Sequence[Back | None]]:
        """Attention that keeps q, k, v, the result and the log of each row's sum: the weights are computed again."""
        lengths = key_lengths(self.xp, mask, q, k, v)
        out, lse = self._attention.attention(q, k, v, mask, scale, lengths, with_lse=True)
        to_q, to_k, to_v = (fit(self, x) for x in (q, k, v))

        @once
        def back(g: Array) -> tuple[Array, ...]:
            return self._attention_gradients.gradients(q, k, v, out, lse, g, mask, scale, lengths)

        return out, (lambda g: to_q(back(g)[0]), lambda g: to_k(back(g)[1]), lambda g: to_v(back(g)[2]))

    def _norm_with_gradient(self, op: str, args: tuple[Any, ...]) -> tuple[Array, Sequence[Back | None]] | None:
        """Layer or RMS norm (x, their weights, eps) or modulate (x, shift, scale, eps), which keep their arguments."""
        x, *vectors, eps = args
        given = [a for a in vectors if a is not None]
        if not self._has_gradient(op, x, given, x.shape[-1]) or not all(is_vectors(a.shape, x.shape) for a in given):
            return None
        result = getattr(self, op)(*args)
        gradients = getattr(self._norm_gradients, op)
        scale = vectors[-1] if op == "modulate" else vectors[0]

        @once
        def back(g: Array) -> tuple[Array, ...]:
            found: tuple[Array, ...] = gradients(x, g, scale, eps)
            return found

        maps: list[Back | None] = [lambda g: back(g)[0], lambda g: back(g)[1], lambda g: back(g)[2]]
        if op == "modulate":  # its shift, which need not be shaped as its scale is
            maps[1:] = fit(self, vectors[0]), maps[1]
        return result, maps

    def _group_norm_with_gradient(self, op: str, args: tuple[Any, ...]) -> tuple[Array, Sequence[Back | None]] | None:
        """Group norm, with SiLU or without (x, groups, weight, bias, eps), which keeps its arguments."""
        x, groups, weight, bias, eps = args
        given = [a for a in (weight, bias) if a is not None]
        if not self._has_gradient(op, x, given, math.prod(x.shape[1:]) // groups):
            return None
        silu = op == "group_norm_silu"

        @once
        def back(g: Array) -> tuple[Array, ...]:
            return self._group_norm_gradients.gradients(x, g, groups, weight, bias, eps, silu=silu)

        return getattr(self, op)(*args), (lambda g: back(g)[0], None, lambda g: back(g)[1], lambda g: back(g)[2])

    def _has_gradient(self, op: str, x: Array, vectors: Sequence[Array], length: int) -> bool:
        """Whether a backward kernel takes arrays of these dtypes, which must be one."""
        dtypes = dict.fromkeys(self.dtype_name(a) for a in (x, *vectors))
        return self._kernels.choose(f"{op} gradient", " and ".join(dtypes), length=length).kernel is not None
