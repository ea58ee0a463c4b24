"""Layers that the official autoencoders share: convolutions padded as each release does, norms, residual blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..module import static
from ..nn.init import RandomInit
from ..ops import Array, Ops

Layer = Callable[[Ops, Array], Array]
MakeConv = Callable[[RandomInit, int, int, int], Any]
"""make(init, fan_in, out, kernel): the convolution of a release, which keeps the size of what it is given."""


@dataclass(frozen=True)
class Conv:
    """Convolution over [B, in, *size] with a padding of its own at both ends of each axis.

    weight [out, in, *kernel], bias [out] or None. stride, low, high: one entry per axis of time and space.
    replicate: pad with the values at the border instead of zeros.
    """

    weight: Array
    bias: Array | None
    stride: tuple[int, ...] = static()
    low: tuple[int, ...] = static()
    high: tuple[int, ...] = static()
    replicate: bool = static(default=False)

    @classmethod
    def create(
        cls,
        init: RandomInit,
        fan_in: int,
        out: int,
        kernel: Sequence[int],
        *,
        stride: Sequence[int] | None = None,
        low: Sequence[int] | None = None,
        high: Sequence[int] | None = None,
        replicate: bool = False,
        bias: bool = True,
    ) -> Conv:
        """Xavier-uniform weight and zero bias; unless told otherwise stride 1 and a padding that keeps the size."""
        same = tuple(k // 2 for k in kernel)
        weight, shift = init.xavier_uniform(out, fan_in, *kernel), init.zeros(out) if bias else None
        steps = tuple(stride or (1,) * len(kernel))
        before, after = same if low is None else tuple(low), same if high is None else tuple(high)
        return cls(weight, shift, steps, before, after, replicate)

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, in, *size] -> [B, out, *((size + low + high - kernel) // stride + 1)]."""
        if self.low == self.high and not self.replicate:
            return ops.conv(x, self.weight, self.bias, self.stride, self.low)
        if self.replicate:
            x = replicate_border(ops, x, self.low, self.high)
        elif any(self.low) or any(self.high):
            x = ops.pad(x, (0, 0, *self.low), (0, 0, *self.high), (0,) * x.ndim)
        return ops.conv(x, self.weight, self.bias, self.stride)


@dataclass(frozen=True)
class CausalConv:
    """A convolution over time and space that sees no later frame: all padding of the time axis stands in front."""

    conv: Conv

    @classmethod
    def create(
        cls,
        init: RandomInit,
        fan_in: int,
        out: int,
        kernel: int,
        *,
        stride: tuple[int, int, int] = (1, 1, 1),
        front: int | None = None,
        replicate: bool = False,
        bias: bool = True,
    ) -> CausalConv:
        """A cubic kernel; `front` frames are padded in front, kernel - 1 unless given."""
        side = kernel // 2
        low = (kernel - 1 if front is None else front, side, side)
        cube, high = (kernel,) * 3, (0, side, side)
        args: dict[str, Any] = {"stride": stride, "low": low, "high": high, "replicate": replicate, "bias": bias}
        return cls(Conv.create(init, fan_in, out, cube, **args))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, in, T, H, W]."""
        return self.conv(ops, x)


@dataclass(frozen=True)
class GroupNorm:
    """Group normalisation with weight and bias [C]."""

    weight: Array
    bias: Array
    groups: int = static()
    eps: float = static()

    @classmethod
    def create(cls, init: RandomInit, channels: int, groups: int, eps: float = 1e-6) -> GroupNorm:
        """Start as the plain normalisation."""
        return cls(init.ones(channels), init.zeros(channels), groups, eps)

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, ...] of the same shape back."""
        return ops.group_norm(x, self.groups, self.weight, self.bias, self.eps)

    def silu(self, ops: Ops, x: Array) -> Array:
        """The norm and SiLU after it, in one op."""
        return ops.group_norm_silu(x, self.groups, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class ResidualBlock:
    """x + conv2(silu(norm2(conv1(silu(norm1(x)))))); a convolution on the shortcut where the channels change.

    The releases differ in the name of the shortcut; each has a subclass whose last field is called so.
    """

    norm1: GroupNorm
    conv1: Layer
    norm2: GroupNorm
    conv2: Layer
    SHORTCUT: ClassVar[str]

    @classmethod
    def create(
        cls,
        init: RandomInit,
        fan_in: int,
        out: int,
        groups: int,
        conv: MakeConv,
        eps: float = 1e-6,
    ) -> Self:
        """Kernels of 3, and of 1 on the shortcut if fan_in is not out."""
        first = GroupNorm.create(init, fan_in, groups, eps), conv(init, fan_in, out, 3)
        second = GroupNorm.create(init, out, groups, eps), conv(init, out, out, 3)
        shortcut: dict[str, Any] = {cls.SHORTCUT: None if fan_in == out else conv(init, fan_in, out, 1)}
        return cls(*first, *second, **shortcut)

    @classmethod
    def chain(
        cls, init: RandomInit, fan_in: int, out: int, count: int, groups: int, conv: MakeConv, eps: float = 1e-6
    ) -> tuple[Self, ...]:
        """Blocks one after another, of which the first changes the channels."""
        return tuple(cls.create(init, width, out, groups, conv, eps) for width in (fan_in, *(out,) * (count - 1)))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, in, ...] -> [B, out, ...]."""
        y = self.conv1(ops, self.norm1.silu(ops, x))
        y = self.conv2(ops, self.norm2.silu(ops, y))
        shortcut = getattr(self, self.SHORTCUT)
        return (x if shortcut is None else shortcut(ops, x)) + y


def replicate_border(ops: Ops, x: Array, low: Sequence[int], high: Sequence[int]) -> Array:
    """Repeat the first entry of each axis of [B, C, *size] `low` times in front, and the last one `high` times."""
    for axis, (before, after) in enumerate(zip(low, high, strict=True), start=2):
        n, rows = x.shape[axis], [slice(None)] * x.ndim
        rows[axis] = slice(0, 1)
        first = [x[tuple(rows)]] * before
        rows[axis] = slice(n - 1, n)
        last = [x[tuple(rows)]] * after
        x = ops.concat([*first, x, *last], axis=axis) if first or last else x
    return x


def nearest(ops: Ops, x: Array, factors: Sequence[int]) -> Array:
    """Repeat every cell of [B, C, *size] factors[i] times along each axis of time and space."""
    split, repeated, merged = list(x.shape[:2]), list(x.shape[:2]), list(x.shape[:2])
    for size, factor in zip(x.shape[2:], factors, strict=True):
        split += [size, 1]
        repeated += [size, factor]
        merged.append(size * factor)
    return ops.reshape(ops.broadcast_to(ops.reshape(x, split), repeated), merged)


def per_frame(ops: Ops, x: Array, layer: Layer) -> Array:
    """Apply a layer of images to each frame of [B, C, T, H, W]."""
    B, C, T, H, W = x.shape
    frames = ops.reshape(ops.permute_dims(x, (0, 2, 1, 3, 4)), (B * T, C, H, W))
    y = layer(ops, frames)
    return ops.permute_dims(ops.reshape(y, (B, T, *y.shape[1:])), (0, 2, 1, 3, 4))
