"""What sums, norms, activations and convolutions must do whatever their numbers are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...ops import Array, Ops
from .inputs import Inputs
from .judged import holds

Pairs = Iterator[tuple[Array, Array]]


@holds("ops")
def softmax_does_not_see_a_shift(ops: Ops, inputs: Inputs) -> Pairs:
    """softmax(x + c) = softmax(x) along any axis, and what it gives sums to one."""
    shape, axis = [inputs.size(1, 6) for _ in range(3)], inputs.size(0, 2)
    x = inputs.quarters(*shape)
    c = inputs.quarters(*(1 if a == axis else n for a, n in enumerate(shape)))
    y = ops.softmax(x, axis=axis)
    yield y, ops.softmax(x + c, axis=axis)
    yield y, ops.softmax(x - ops.full((), 12.0, x.dtype), axis=axis)
    total = ops.sum(ops.widen(y), axis=axis)
    yield total, ops.full(total.shape, 1.0, total.dtype)


@holds("ops")
def norms_do_not_see_size_and_place(ops: Ops, inputs: Inputs) -> Pairs:
    """Twice the row under four times the eps gives the same; a layer norm does not see a shift of the row either."""
    D, eps = inputs.size(2, 9), 0.5
    x, weight, bias = inputs.quarters(3, D), inputs.normal(D), inputs.normal(D)
    yield ops.layer_norm(x, weight, bias, eps), ops.layer_norm(x + x, weight, bias, 4 * eps)
    yield ops.layer_norm(x, weight, bias, eps), ops.layer_norm(x + inputs.quarters(3, 1), weight, bias, eps)
    yield ops.rms_norm(x, weight, eps), ops.rms_norm(x + x, weight, 4 * eps)
    yield ops.modulate(x, bias, weight, eps), ops.modulate(x + inputs.quarters(3, 1), bias, weight, eps)


@holds("ops")
def eps_counts_like_one_more_channel(ops: Ops, inputs: Inputs) -> Pairs:
    """rms_norm(x, eps = 1/D) = sqrt(D/(D+1)) · rms_norm([x, 1], eps = 0), and so is a layer norm of a centred row."""
    D = 2 * inputs.size(1, 5)
    half = inputs.quarters(3, D // 2)
    x = ops.concat([half, ops.negative(half)], axis=-1)
    one, ones = ops.full((3, 1), 1.0, x.dtype), ops.full((D + 1,), 1.0, x.dtype)
    longer = ops.widen(ops.rms_norm(ops.concat([x, one], axis=-1), ones, 0.0))[:, :D] * (D / (D + 1)) ** 0.5
    yield ops.widen(ops.rms_norm(x, ones[:D], 1 / D)), longer
    yield ops.widen(ops.layer_norm(x, eps=1 / D)), longer
    yield ops.widen(ops.group_norm(ops.reshape(x, (3, 1, D)), 1, eps=1 / D))[:, 0], longer


@holds("ops")
def norms_are_cases_of_each_other(ops: Ops, inputs: Inputs) -> Pairs:
    """Modulating by nothing is a layer norm; so is a group norm of one group; rms of centred rows is one too."""
    B, C, N = 2, inputs.size(2, 5), inputs.size(2, 5)
    x, weight, bias = inputs.normal(B, C, N), inputs.normal(C), inputs.normal(C)
    nothing, eps = ops.full((N,), 0.0, x.dtype), 0.5
    yield ops.modulate(x, nothing, nothing, eps), ops.layer_norm(x, eps=eps)
    row = ops.reshape(ops.layer_norm(ops.reshape(x, (B, C * N)), eps=eps), x.shape)
    affine = row * ops.reshape(weight, (C, 1)) + ops.reshape(bias, (C, 1))
    yield ops.group_norm(x, 1, weight, bias, eps), affine
    yield ops.group_norm(x, C, eps=eps), ops.layer_norm(x, eps=eps)
    centred = ops.concat([x, ops.negative(x)], axis=-1)
    yield ops.rms_norm(centred, ops.full((2 * N,), 1.0, x.dtype), eps), ops.layer_norm(centred, eps=eps)


@holds("ops")
def activations_mirror(ops: Ops, inputs: Inputs) -> Pairs:
    """f(x) - f(-x) = x for silu and both forms of gelu; none passes its input by."""
    x = inputs.normal(inputs.size(1, 9), inputs.size(1, 9))
    functions: list[Callable[[Array], Array]] = [ops.silu, ops.gelu, lambda v: ops.gelu(v, "none")]
    for f in functions:
        yield f(x) - f(ops.negative(x)), x
        yield ops.maximum(f(x), x), ops.where(x < ops.full((), 0.0, x.dtype), f(x), x)


@holds("ops")
def linear_is_linear(ops: Ops, inputs: Inputs) -> Pairs:
    """W(x + y) + b = (Wx + b) + Wy, and W in two blocks of rows gives the result in two blocks."""
    n, m = inputs.size(1, 9), inputs.size(2, 6)
    x, y = inputs.quarters(3, n), inputs.quarters(3, n)
    weight, bias = inputs.normal(m, n), inputs.normal(m)
    yield ops.linear(x + y, weight, bias), ops.linear(x, weight, bias) + ops.linear(y, weight)
    blocks = [ops.linear(x, weight[rows], bias[rows]) for rows in (slice(0, 1), slice(1, None))]
    yield ops.linear(x, weight, bias), ops.concat(blocks, axis=-1)


@holds("ops")
def a_batch_may_be_split(ops: Ops, inputs: Inputs) -> Pairs:
    """Every fused op of rows computes each sample as if it were alone."""
    B, C, D = inputs.size(2, 4), 2 * inputs.size(1, 2), 2 * inputs.size(1, 4)
    x, weight, matrix = inputs.normal(B, C, D), inputs.normal(D), inputs.normal(3, D)
    cos, sin = (inputs.place(t, inputs.wide) for t in inputs.tables(C, D))
    kernel, qkv = inputs.normal(2, C, 2), inputs.normal(B, 2, 3, 3, 1, D)
    yield from _split(ops, x, lambda v: ops.linear(v, matrix))
    yield from _split(ops, x, ops.gelu)
    yield from _split(ops, x, ops.silu)
    yield from _split(ops, x, ops.softmax)
    yield from _split(ops, x, lambda v: ops.layer_norm(v, weight, weight))
    yield from _split(ops, x, lambda v: ops.rms_norm(v, weight))
    yield from _split(ops, x, lambda v: ops.group_norm(v, 2))
    yield from _split(ops, x, lambda v: ops.group_norm_silu(v, 2))
    yield from _split(ops, x, lambda v: ops.modulate(v, v, v))
    yield from _split(ops, x, lambda v: ops.gated_residual(v, v, weight))
    yield from _split(ops, x, lambda v: ops.rotary(v, cos, sin))
    yield from _split(ops, x, lambda v: ops.rms_norm_rotary(v, weight, cos, sin))
    yield from _split(ops, x, lambda v: ops.attention(v, v, v))
    yield from _split(ops, x, lambda v: ops.conv(v, kernel))
    yield from _split(ops, qkv, lambda v: ops.attention_3d(v, "spatial"))
    yield from _split(ops, qkv, lambda v: ops.attention_3d(v, "temporal"))


@holds("ops")
def convolution_moves_with_its_input(ops: Ops, inputs: Inputs) -> Pairs:
    """A shifted input gives a shifted result, a stride of 2 every second, padding is zeros put around."""
    H, W, C = inputs.size(3, 6), inputs.size(4, 7), inputs.size(1, 3)
    x, weight, bias = inputs.normal(2, C, H, W), inputs.normal(2, C, 3, 2), inputs.normal(2)
    y = ops.conv(x, weight, bias)
    yield y[..., 1:], ops.conv(x[..., 1:], weight, bias)
    yield y[..., ::2, ::2], ops.conv(x, weight, bias, stride=(2, 2))
    around = ops.pad(x, (0, 0, 1, 0), (0, 0, 1, 0), (0, 0, 0, 0))
    yield ops.conv(x, weight, bias, padding=(1, 0)), ops.conv(around, weight, bias)


@holds("ops")
def convolution_has_simple_cases(ops: Ops, inputs: Inputs) -> Pairs:
    """A kernel of one is a linear map of the channels; one frame deep, it sees each frame of a video alone."""
    B, C, T, H, W = 2, inputs.size(1, 3), inputs.size(1, 3), inputs.size(2, 4), inputs.size(2, 4)
    x, weight, bias = inputs.normal(B, C, T, H, W), inputs.normal(2, C, 1, 2, 2), inputs.normal(2)
    frames = [ops.conv(x[:, :, t], weight[:, :, 0], bias) for t in range(T)]
    together = ops.concat([ops.reshape(f, (*f.shape[:2], 1, *f.shape[2:])) for f in frames], axis=2)
    yield ops.conv(x, weight, bias), together
    points = ops.linear(ops.permute_dims(x, (0, 2, 3, 4, 1)), weight[:, :, 0, 0, 0], bias)
    yield ops.conv(x, weight[..., :1, :1], bias), ops.permute_dims(points, (0, 4, 1, 2, 3))


@holds("ops")
def sums_are_adjoint(ops: Ops, inputs: Inputs) -> Pairs:
    """<take(x), y> = <x, index_add(0, y)>, and the same for slice and pad: what gradients rest on."""
    n, m = inputs.size(3, 8), inputs.size(1, 6)
    x, y = inputs.normal(2, n), inputs.normal(2, m)
    at = inputs.indices(inputs.rng.integers(0, n, m))
    zeros = ops.full((2, n), 0.0, x.dtype)
    yield _dot(ops, ops.take(x, at, axis=1), y), _dot(ops, x, ops.index_add(zeros, at, y, axis=1))
    cut = ops.slice(x, (0, 1), (2, n), (1, 2))
    z = inputs.normal(2, cut.shape[1])
    back = ops.pad(z, (0, 1), (0, (n - 2) % 2), (0, 1))
    yield _dot(ops, cut, z), _dot(ops, x, back)


def _split(ops: Ops, x: Array, function: Callable[[Array], Array]) -> Pairs:
    yield function(x), ops.concat([function(x[:1]), function(x[1:])], axis=0)


def _dot(ops: Ops, a: Array, b: Array) -> Array:
    return ops.sum(ops.widen(a) * ops.widen(b))
