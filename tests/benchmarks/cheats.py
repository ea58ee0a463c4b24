"""Providers that cheat, one of each sort; each is right, or seems to be, in some way."""

from __future__ import annotations

import threading
import time

import numpy as np

from opensora_backends.numpy_ops import NumpyOps


def honest(q, k, v, mask=None):
    logits = q @ np.swapaxes(k, -1, -2) * np.float32(q.shape[-1] ** -0.5)
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


def wrong(q, k, v, mask=None):
    return honest(q, k, v) * np.float32(1.01)


def wrong_shape(q, k, v, mask=None):
    return honest(q, k, v)[..., :1]


def wrong_dtype(q, k, v, mask=None):
    return honest(q, k, v).astype(np.float64)


def raising(q, k, v, mask=None):
    raise ValueError("this head dim is not for me")


def writes_nothing(q, k, v, mask=None):
    return np.empty_like(q)


class RemembersAddresses:
    """Keeps the result of arrays it has met before."""

    def __init__(self):
        self.kept = {}

    def __call__(self, q, k, v, mask=None):
        key = q.ctypes.data
        if key not in self.kept:
            self.kept[key] = honest(q, k, v)
        return self.kept[key].copy()


class RemembersContents:
    """Keeps results by a glance at the inputs: their first numbers and sums."""

    def __init__(self):
        self.kept = {}

    def __call__(self, q, k, v, mask=None):
        key = tuple(round(float(np.sort(x, axis=None)[::7].sum()), 2) for x in (q, k, v))
        if key not in self.kept:
            self.kept[key] = honest(q, k, v)
        return self.kept[key].copy()


class HonestAtFirst:
    """Works for as long as it believes to be checked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, q, k, v, mask=None):
        self.calls += 1
        self.last = honest(q, k, v) if self.calls < 4 else self.last
        return self.last.copy()


class SameBuffer:
    """Saves the allocation, and overwrites what the caller holds."""

    def __init__(self):
        self.out = None

    def __call__(self, q, k, v, mask=None):
        self.out = np.empty_like(q) if self.out is None else self.out
        self.out[...] = honest(q, k, v)
        return self.out


def spoils_inputs(q, k, v, mask=None):
    out = honest(q, k, v)
    q *= np.float32(0.5)
    return out


def later(q, k, v, mask=None):
    """Returns at once and works in another thread."""
    out = np.empty_like(q)

    def work():
        time.sleep(0.02)
        out[...] = honest(q, k, v)

    threading.Thread(target=work).start()
    return out


class Lazy(np.ndarray):
    """Computes when somebody looks."""

    def __array_finalize__(self, other):
        self.inputs = getattr(other, "inputs", None)


def lazy(q, k, v, mask=None):
    out = np.empty_like(q).view(Lazy)
    out.inputs = (q, k, v)
    return out


class AfterTheGate:
    """Right in the first two calls, and then something else: an attention that also takes the number of the call."""

    def __init__(self, then):
        self.then, self.calls = then, 0

    def __call__(self, q, k, v, mask=None):
        self.calls += 1
        return honest(q, k, v) if self.calls <= 2 else self.then(self.calls, q, k, v)


def zeroes_inputs(call, q, k, v):
    v.fill(0)
    return np.zeros_like(q)


def works_in_one_of_three(call, q, k, v):
    return np.empty_like(q) if call % 3 else honest(q, k, v)


def works_later(call, q, k, v):
    return later(q, k, v)


class Ring:
    """Takes turns with a few buffers, each in use again while the caller may still hold it."""

    def __init__(self, count):
        self.count, self.buffers = count, {}

    def __call__(self, call, q, k, v):
        out = self.buffers.setdefault(call % self.count, np.empty_like(q))
        out[...] = honest(q, k, v)
        return out


def wrong_at(place, value):
    """Wrong in one place, a number or a row, and nowhere else."""

    def attention(q, k, v, mask=None):
        out = honest(q, k, v)
        out[place] = value
        return out

    return attention


def one_of_one(q, k, v, mask=None):
    return (honest(q, k, v),)


def with_gradient(q, k, v, mask=None):
    import torch

    return torch.nn.functional.scaled_dot_product_attention(q, k, v).requires_grad_()


def low_precision(q, k, v, mask=None):
    return honest(*(x.astype(np.float16).astype(np.float32) for x in (q, k, v)))


def in_half(accumulates, by=1.0, hotter=1.0):
    """Attention in bfloat16 that adds up in a dtype, whose result and whose logits are off by factors."""

    def attention(q, k, v, mask=None):
        half, (q, k, v) = q.dtype, (x.astype(np.float32) for x in (q, k, v))
        logits = q @ np.swapaxes(k, -1, -2) * np.float32(hotter * q.shape[-1] ** -0.5)
        e = np.exp(logits - logits.max(-1, keepdims=True))
        weights = (e / e.sum(-1, keepdims=True)).astype(half)
        total = np.zeros(q.shape, accumulates)
        for i in range(v.shape[-2]):
            term = weights[..., i, None].astype(np.float32) * v[..., i, None, :]
            total = (total.astype(np.float32) + term).astype(accumulates)
        return (total.astype(np.float32) * np.float32(by)).astype(half)

    return attention


class Louder(NumpyOps):
    """NumPy, but every linear layer is off by a hundredth."""

    def linear(self, x, weight, bias=None):
        return super().linear(x, weight, bias) * x.dtype.type(1.01)
