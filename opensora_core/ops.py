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
from typing import Any, Literal, TypeVar

from .errors import InvalidInputError

Array = Any
"""An array of the backend at hand: np.ndarray, torch.Tensor, cupy.ndarray, or an interposer's Box."""
DType = Any
"""A dtype name ("float32", "bfloat16", "int64", "bool", ...) or the backend's own dtype object."""
Axis = int | tuple[int, ...] | None
Pattern = Literal["spatial", "temporal", "full"]
"""Which tokens of a video attend to each other: those of one frame, those of one place, or all."""

Function = TypeVar("Function", bound=Callable[..., Any])

PATTERNS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # axes of [B, T, S, 3, H, D] in the order of attention, and axes of its result in the order [B, T, S, H, D]
    "spatial": ((3, 0, 1, 4, 2, 5), (0, 1, 3, 2, 4)),
    "temporal": ((3, 0, 2, 4, 1, 5), (0, 3, 1, 2, 4)),
    "full": ((3, 0, 4, 1, 2, 5), (0, 2, 1, 3)),
}
PRIMITIVES: list[str] = []
FUSED: list[str] = []
HALF = ("float16", "bfloat16")
NEVER = -1e30  # a finite logit that softmax turns into exactly zero beside any real one


def primitive(method: Function) -> Function:
    """Mark a method that every backend must implement."""
    PRIMITIVES.append(method.__name__)
    return method


def fused(method: Function) -> Function:
    """Mark a method that has a default composition and may be overridden."""
    FUSED.append(method.__name__)
    return method


class Ops:
    """The tensor-op protocol. Instances are cheap and immutable, and several can live side by side."""

    name = "abstract"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        """device: where arrays live; dtype: the floating dtype in which models are loaded."""
        self.device, self.dtype = device, dtype

    # ------------------------------------------------------------------ primitives: moving data in and out

    @primitive
    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        """Bring a NumPy array, number or list to this backend's device; keeps its dtype unless told otherwise."""
        raise NotImplementedError

    @primitive
    def to_numpy(self, x: Array) -> Any:
        """Bring an array to the host as a NumPy array of the same dtype (bfloat16 through ml_dtypes)."""
        raise NotImplementedError

    @primitive
    def astype(self, x: Array, dtype: DType) -> Array:
        """Cast; the same array comes back when nothing changes."""
        raise NotImplementedError

    @primitive
    def full(self, shape: Sequence[int], value: float, dtype: DType = "float32") -> Array:
        """Return an array of `shape` filled with `value`."""
        raise NotImplementedError

    @primitive
    def arange(self, stop: int, dtype: DType = "float32") -> Array:
        """Return 0, 1, ..., stop - 1."""
        raise NotImplementedError

    # ------------------------------------------------------------------ primitives: elementwise

    @primitive
    def negative(self, x: Array) -> Array:
        """Return -x."""
        raise NotImplementedError

    @primitive
    def exp(self, x: Array) -> Array:
        """Return e**x."""
        raise NotImplementedError

    @primitive
    def log(self, x: Array) -> Array:
        """Return the natural logarithm."""
        raise NotImplementedError

    @primitive
    def sqrt(self, x: Array) -> Array:
        """Return the square root."""
        raise NotImplementedError

    @primitive
    def sin(self, x: Array) -> Array:
        """Return the sine of radians."""
        raise NotImplementedError

    @primitive
    def cos(self, x: Array) -> Array:
        """Return the cosine of radians."""
        raise NotImplementedError

    @primitive
    def tanh(self, x: Array) -> Array:
        """Return the hyperbolic tangent."""
        raise NotImplementedError

    @primitive
    def erf(self, x: Array) -> Array:
        """Return the Gauss error function (needed by the exact GELU; the array API has no word for it)."""
        raise NotImplementedError

    @primitive
    def add(self, a: Array, b: Array) -> Array:
        """Return a + b."""
        raise NotImplementedError

    @primitive
    def subtract(self, a: Array, b: Array) -> Array:
        """Return a - b."""
        raise NotImplementedError

    @primitive
    def multiply(self, a: Array, b: Array) -> Array:
        """Return a * b."""
        raise NotImplementedError

    @primitive
    def divide(self, a: Array, b: Array) -> Array:
        """Return a / b."""
        raise NotImplementedError

    @primitive
    def pow(self, a: Array, b: Array) -> Array:
        """Return a ** b."""
        raise NotImplementedError

    @primitive
    def maximum(self, a: Array, b: Array) -> Array:
        """Return the larger of a and b; NaN if either is."""
        raise NotImplementedError

    @primitive
    def equal(self, a: Array, b: Array) -> Array:
        """Return a == b as booleans."""
        raise NotImplementedError

    @primitive
    def less(self, a: Array, b: Array) -> Array:
        """Return a < b as booleans."""
        raise NotImplementedError

    @primitive
    def where(self, condition: Array, a: Array, b: Array) -> Array:
        """Return a where condition holds, else b; the result has the array operand's dtype."""
        raise NotImplementedError

    # ------------------------------------------------------------------ primitives: contraction and reduction

    @primitive
    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product over the last two axes, leading axes broadcast; half precision accumulates in float32."""
        raise NotImplementedError

    @primitive
    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """Sum over axes (all when None); half precision accumulates in float32 and is cast back."""
        raise NotImplementedError

    @primitive
    def max(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        """Largest element over axes (all when None)."""
        raise NotImplementedError

    # ------------------------------------------------------------------ primitives: shape

    @primitive
    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        """Same elements in row-major order under another shape; one entry may be -1."""
        raise NotImplementedError

    @primitive
    def permute_dims(self, x: Array, axes: Sequence[int]) -> Array:
        """Axis i of the result is axis axes[i] of x."""
        raise NotImplementedError

    @primitive
    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        """Repeat x along new or length-1 axes, without a copy where the library can."""
        raise NotImplementedError

    @primitive
    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        """Join arrays along an existing axis."""
        raise NotImplementedError

    @primitive
    def slice(self, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
        """x[start0:stop0:step0, ...] with one non-negative entry per axis and step >= 1."""
        raise NotImplementedError

    @primitive
    def pad(self, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Array:
        """Put `low` zeros before, `high` after, `interior` between neighbours of each axis: the adjoint of slice."""
        raise NotImplementedError

    @primitive
    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        """Pick entries of one axis by a 1-D array of non-negative integer indices."""
        raise NotImplementedError

    @primitive
    def index_add(self, x: Array, indices: Array, values: Array, axis: int = 0) -> Array:
        """A copy of x with values added at indices of one axis (repeated indices accumulate): the adjoint of take."""
        raise NotImplementedError

    @primitive
    def stop_gradient(self, x: Array) -> Array:
        """Return x, as a constant to differentiation."""
        raise NotImplementedError

    # ------------------------------------------------------------------ the half-precision policy, in one place

    def dtype_name(self, x: Array) -> str:
        """Name of an array's dtype: "float32", "bfloat16", "int64", "bool", ..."""
        return str(x.dtype).removeprefix("torch.")

    def widen(self, x: Array) -> Array:
        """Return x in float32 if it is half precision, else as it is."""
        return self.astype(x, "float32") if self.dtype_name(x) in HALF else x

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
    def modulate(self, x: Array, shift: Array, scale: Array, eps: float = 1e-6) -> Array:
        """Adaptive layer norm of DiT (Peebles & Xie 2023): layer_norm(x) * (1 + scale) + shift."""
        w = self.widen(self.layer_norm(x, eps=eps))
        return self.astype(w * (1.0 + self.widen(scale)) + self.widen(shift), x.dtype)

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
        q, k, v = (self.reshape(packed[i], rows) for i in range(3))
        if q_norm is not None:
            q = self.rms_norm(q, q_norm)
        if k_norm is not None:
            k = self.rms_norm(k, k_norm)
        if cos is not None:
            q, k = self.rotary(q, cos, sin), self.rotary(k, cos, sin)
        out = self.permute_dims(self.attention(q, k, v), back)
        return self.reshape(out, (B, T, S, H, D))

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

    # ------------------------------------------------------------------ fused: programs

    @fused
    def value_and_grad(
        self, fun: Callable[[Ops, Mapping[str, Array]], Array], params: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Value of a scalar function and its gradient by every parameter.

        fun(ops, params) must use the ops it is given: the default runs it on a tape, `Autodiff(self)`.
        Parameters the function does not use get zeros.
        """
        from opensora_core.autodiff import Autodiff

        value, grads = Autodiff(self).differentiate(fun, params)
        return value, grads

    @fused
    def compile(self, fun: Function) -> Function:
        """Return a function of arrays that computes the same, faster where the backend can; here `fun` itself."""
        return fun


def _offsets(kernel: Sequence[int]) -> list[tuple[int, ...]]:
    offsets: list[tuple[int, ...]] = [()]
    for size in kernel:
        offsets = [(*o, i) for o in offsets for i in range(size)]
    return offsets
