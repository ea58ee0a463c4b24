"""The language: every tensor operation the model, the schedulers and the training objective may use.

Two tiers. *Primitives* must be implemented by a backend; they carry the names and meanings of the array API standard
where it has the word. *Fused ops* have a default written in primitives, and a backend overrides one when it is
measurably better. An override repeats the base signature exactly.

Array operators (`+ - * / ** @ < ==`, indexing with ints and slices, `.shape .ndim .dtype`) are part of the language.
Deliberately absent: random numbers (drawn on the host, see `opensora_core.random`), in-place writes, sorting.

Half precision: softmax, norms, rotary and attention logits are computed in float32 inside the op and cast back; callers
never cast for them. Do not mix a Python scalar into half-precision arithmetic outside a fused op: array libraries
disagree about the resulting dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from .errors import InvalidInputError
from .primitives import HALF, PRIMITIVES, Array, Axis, DType, Function, Primitives

__all__ = [
    "FUSED",
    "HALF",
    "NEVER",
    "PART_AXES",
    "PATTERNS",
    "PRIMITIVES",
    "Array",
    "Axis",
    "DType",
    "Function",
    "Ops",
    "Pattern",
]

Pattern = Literal["spatial", "temporal", "full"]
"""Which tokens of a video attend to each other: those of one frame, those of one place, or all."""

PATTERNS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # axes of [B, T, S, 3, H, D] in the order of attention, and axes of its result in the order [B, T, S, H, D]
    "spatial": ((3, 0, 1, 4, 2, 5), (0, 1, 3, 2, 4)),
    "temporal": ((3, 0, 2, 4, 1, 5), (0, 3, 1, 2, 4)),
    "full": ((3, 0, 4, 1, 2, 5), (0, 2, 1, 3)),
}
PART_AXES = {pattern: tuple(axis - (axis > 3) for axis in axes[1:]) for pattern, (axes, _) in PATTERNS.items()}
"""The same of queries, keys or values alone: axes of [B, T, S, H, D] in the order of attention."""
FUSED: list[str] = []
NEVER = -1e30  # a finite logit that softmax turns into exactly zero beside any real one


def fused(method: Function) -> Function:
    """Mark a method that has a default composition and may be overridden."""
    FUSED.append(method.__name__)
    return method


class Ops(Primitives):
    """The tensor-op protocol. Instances are cheap and immutable, and several can live side by side."""

    # ------------------------------------------------------------------ fused: linear algebra and activations

    @fused
    def linear(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        """x [..., in] times weight [out, in] transposed, plus bias [out]."""
        if x.ndim == 1:
            return self.linear(x[None], weight, bias)[0]
        y = self.matmul(x, self.permute_dims(weight, (1, 0)))
        return y if bias is None else y + bias

    @fused
    def gelu(self, x: Array, approximate: Literal["tanh", "none"] = "tanh") -> Array:
        """Gaussian error linear unit (Hendrycks & Gimpel 2016): the tanh form of Open-Sora, or the exact erf form."""
        w = self.widen(x)
        if approximate == "tanh":
            bend = self.tanh(math.sqrt(2 / math.pi) * (w + 0.044715 * (w * w * w)))
        else:
            bend = self.erf(w * math.sqrt(0.5))
        return self.astype(0.5 * w * (1.0 + bend), x.dtype)

    @fused
    def silu(self, x: Array) -> Array:
        """x * sigmoid(x), written so that large negative x cannot overflow."""
        w = self.widen(x)
        return self.astype(w * (0.5 * (1.0 + self.tanh(0.5 * w))), x.dtype)

    @fused
    def softmax(self, x: Array, axis: int = -1) -> Array:
        """exp(x) normalised along one axis, shifted by the maximum."""
        w = self.widen(x)
        e = self.exp(w - self.stop_gradient(self.max(w, axis=axis, keepdims=True)))
        return self.astype(e / self.sum(e, axis=axis, keepdims=True), x.dtype)

    # ------------------------------------------------------------------ fused: normalisation

    @fused
    def layer_norm(self, x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6) -> Array:
        """Zero mean and unit variance over the last axis (Ba et al. 2016), then weight and bias [D] if given."""
        w = self.widen(x)
        n = 1.0 / x.shape[-1]
        centred = w - self.sum(w, axis=-1, keepdims=True) * n
        variance = self.sum(centred * centred, axis=-1, keepdims=True) * n
        y = self.astype(centred / self.sqrt(variance + eps), x.dtype)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    @fused
    def rms_norm(self, x: Array, weight: Array, eps: float = 1e-6) -> Array:
        """x over its root mean square along the last axis (Zhang & Sennrich 2019), cast back, then times weight [D]."""
        w = self.widen(x)
        mean_square = self.sum(w * w, axis=-1, keepdims=True) * (1.0 / x.shape[-1])
        return self.astype(w / self.sqrt(mean_square + eps), x.dtype) * weight

    @fused
    def group_norm(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        """Normalise x [B, C, ...] over each of `groups` equal runs of channels (Wu & He 2018)."""
        B, C = x.shape[:2]
        rows = self.reshape(x, (B, groups, C // groups * math.prod(x.shape[2:])))
        y = self.reshape(self.layer_norm(rows, eps=eps), x.shape)
        per_channel = (C,) + (1,) * (x.ndim - 2)
        y = y if weight is None else y * self.reshape(weight, per_channel)
        return y if bias is None else y + self.reshape(bias, per_channel)

    @fused
    def group_norm_silu(
        self, x: Array, groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-6
    ) -> Array:
        """silu(group_norm(x)), what stands before every convolution of the autoencoders' residual blocks."""
        return self.silu(self.group_norm(x, groups, weight, bias, eps))

    @fused
    def modulate(self, x: Array, shift: Array, scale: Array, eps: float = 1e-6) -> Array:
        """Adaptive layer norm of DiT (Peebles & Xie 2023): layer_norm(x) * (1 + scale) + shift."""
        w = self.widen(self.layer_norm(x, eps=eps))
        return self.astype(w * (1.0 + self.widen(scale)) + self.widen(shift), x.dtype)

    @fused
    def gated_residual(self, x: Array, branch: Array, gate: Array) -> Array:
        """x + gate * branch, how DiT's blocks let a branch in (Peebles & Xie 2023).

        branch is shaped as x; gate broadcasts to it.
        """
        return self.astype(self.widen(x) + self.widen(gate) * self.widen(branch), x.dtype)

    # ------------------------------------------------------------------ fused: attention

    @fused
    def rotary(self, x: Array, cos: Array, sin: Array) -> Array:
        """Rotary position embedding (Su et al. 2021) on adjacent channel pairs (2k, 2k+1) of the last axis.

        cos, sin: angles' cosine and sine, broadcastable to x[..., ::2].
        """
        w = self.widen(x)
        cos, sin = self.astype(cos, w.dtype), self.astype(sin, w.dtype)
        even, odd = w[..., 0::2], w[..., 1::2]
        pairs = (even * cos - odd * sin, odd * cos + even * sin)
        stacked = self.concat([self.reshape(p, (*p.shape, 1)) for p in pairs], axis=-1)
        return self.astype(self.reshape(stacked, x.shape), x.dtype)

    @fused
    def rms_norm_rotary(self, x: Array, weight: Array, cos: Array, sin: Array, eps: float = 1e-6) -> Array:
        """rotary(rms_norm(x, weight), cos, sin): queries or keys [..., L, D] made ready for attention.

        weight [D]; cos, sin as in `rotary`. For tokens that do not lie in one packed `qkv`, as those of text and video
        side by side, each with norms of their own (Open-Sora v2.0); `attention_3d` does the same for those that do.
        """
        return self.rotary(self.rms_norm(x, weight, eps), cos, sin)

    @fused
    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        """softmax(q kᵀ · scale) v (Vaswani et al. 2017); q [..., L, D], k and v [..., M, D].

        mask: booleans broadcastable to [..., L, M]; True may be attended. A row with no key gives zeros.
        scale: 1/sqrt(D) unless given.
        """
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        swap = (*range(k.ndim - 2), k.ndim - 1, k.ndim - 2)
        logits = self.matmul(self.widen(q) * scale, self.permute_dims(self.widen(k), swap))
        if mask is not None:
            logits = self.where(mask, logits, NEVER)
        weights = self.softmax(logits)
        if mask is not None:
            weights = self.where(mask, weights, 0.0)
        return self.matmul(self.astype(weights, v.dtype), v)

    @fused
    def attention_3d(
        self,
        qkv: Array,
        pattern: Pattern,
        q_norm: Array | None = None,
        k_norm: Array | None = None,
        cos: Array | None = None,
        sin: Array | None = None,
    ) -> Array:
        """Self-attention of video tokens: QK-norm, rope and attention over strided memory in one op.

        qkv: [B, T, S, 3, H, D] packed queries, keys and values of T frames with S patches and H heads.
        pattern: "spatial" attends within a frame, "temporal" along time at one place, "full" everywhere.
        q_norm, k_norm: RMS-norm weights [D], applied before the rotation (Open-Sora v1.2).
        cos, sin: rotary tables [L, D/2] of the attended axis (T for temporal, S for spatial, T·S for full).
        Returns [B, T, S, H, D].
        """
        if pattern not in PATTERNS:
            raise InvalidInputError(f"attention pattern {pattern!r} is not one of {', '.join(PATTERNS)}")
        B, T, S, _, H, D = qkv.shape
        order, back = PATTERNS[pattern]
        rows = {"spatial": (B, T, H, S, D), "temporal": (B, S, H, T, D), "full": (B, H, T * S, D)}[pattern]
        packed = self.permute_dims(qkv, order)
        q, k, v = (self.reshape(part, rows) for part in self._unstacked(packed))
        q, k = (_prepared(self, x, weight, cos, sin) for x, weight in ((q, q_norm), (k, k_norm)))
        out = self.permute_dims(self.attention(q, k, v), back)
        return self.reshape(out, (B, T, S, H, D))

    def _unstacked(self, x: Array) -> Sequence[Array]:
        """The parts of x along its first axis; for backends whose gradients of indexing fill the other parts with 0."""
        return [x[i] for i in range(x.shape[0])]

    # ------------------------------------------------------------------ fused: convolution

    @fused
    def conv(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        stride: Sequence[int] | None = None,
        padding: Sequence[int] | None = None,
    ) -> Array:
        """Cross-correlation over any number of space-time axes, zero padding.

        x [B, in, *size], weight [out, in, *kernel], bias [out]; stride and padding have one entry per space-time axis.
        Returns [B, out, *((size + 2·padding - kernel) // stride + 1)].
        """
        n = x.ndim - 2
        B, C = x.shape[:2]
        out, _, *kernel = weight.shape
        stride, padding = tuple(stride or (1,) * n), tuple(padding or (0,) * n)
        x = self.pad(x, (0, 0, *padding), (0, 0, *padding), (0,) * (n + 2)) if any(padding) else x
        if any(size < k for size, k in zip(x.shape[2:], kernel, strict=True)):
            raise InvalidInputError(
                f"a kernel {kernel} does not fit an input that is {list(x.shape[2:])} with its padding"
            )
        sizes = tuple((x.shape[2 + i] - kernel[i]) // stride[i] + 1 for i in range(n))
        columns = []
        for offset in _offsets(kernel):
            stop = tuple(o + (size - 1) * s + 1 for o, size, s in zip(offset, sizes, stride, strict=True))
            columns.append(self.slice(x, (0, 0, *offset), (B, C, *stop), (1, 1, *stride)))
        K, N = len(columns), math.prod(sizes)
        patches = self.concat([self.reshape(c, (B, C, 1, N)) for c in columns], axis=2)  # (B, in, K, N)
        y = self.matmul(self.reshape(weight, (out, C * K)), self.reshape(patches, (B, C * K, N)))  # (B, out, N)
        y = y if bias is None else y + self.reshape(bias, (out, 1))
        return self.reshape(y, (B, out, *sizes))

    # ------------------------------------------------------------------ fused: training

    @fused
    def adamw_step(
        self,
        param: Array,
        grad: Array,
        mean: Array,
        square: Array,
        step: int,
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        factor: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        """Adam with decoupled weight decay (Loshchilov & Hutter 2019): new param, mean and square, of the old shapes.

        mean, square: moments of the gradient, in float32 (float64 for parameters in it). step: its number, from 1.
        rate: the learning rate. factor: one number that the gradient is multiplied by first, such as that of clipping.
        """
        beta1, beta2 = betas
        p, g = self.widen(param), self.widen(grad)
        g = g if factor is None else g * factor
        mean = mean * beta1 + g * (1 - beta1)
        square = square * beta2 + g * g * (1 - beta2)
        direction = mean / (self.sqrt(square) * (1 - beta2**step) ** -0.5 + eps)
        p = p * (1 - rate * weight_decay) - direction * (rate / (1 - beta1**step))
        return self.astype(p, param.dtype), mean, square

    # ------------------------------------------------------------------ fused: programs

    @fused
    def value_and_grad(
        self, fun: Callable[[Ops, Mapping[str, Array]], Array], params: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Value of a scalar function and its gradient by every parameter, in a dict of the same names and order.

        fun(ops, params) must use the ops it is given: the default runs it on a tape, `Autodiff(self)`.
        Parameters the function does not use get zeros.
        """
        from .autodiff import Autodiff

        return Autodiff(self).differentiate(fun, params)

    @fused
    def compile(self, fun: Function) -> Function:
        """Return a function of arrays that computes the same, faster where the backend can; here `fun` itself."""
        return fun

    def checkpoint(self, fun: Callable[..., Any], *args: Any) -> Any:
        """fun(*args), whose intermediates a gradient computes again instead of keeping them (Chen et al. 2016).

        fun uses these ops and returns an array, or a tuple of arrays of one dtype. It is run a second time on the way
        back, until when only what flows into it and its result are kept; parameters may also come from around it, as
        long as those names are not bound anew. This changes no number and so is no op: where no gradients are taken,
        fun is just run.
        """
        return fun(*args)


def _prepared(ops: Ops, x: Array, weight: Array | None, cos: Array | None, sin: Array | None) -> Array:
    """Queries or keys after those of norm and rope that there are."""
    if weight is not None and cos is not None:
        return ops.rms_norm_rotary(x, weight, cos, sin)
    if weight is not None:
        return ops.rms_norm(x, weight)
    return x if cos is None else ops.rotary(x, cos, sin)


def _offsets(kernel: Sequence[int]) -> list[tuple[int, ...]]:
    offsets: list[tuple[int, ...]] = [()]
    for size in kernel:
        offsets = [(*o, i) for o in offsets for i in range(size)]
    return offsets
