"""Versions of attention on the CPU, from the obvious one to those for many tokens, for few keys, and along time.

A backend picks one by the size of its arguments; here each takes whatever it can, so that the choice can be measured.
Half precision goes by way of float32, as in the backends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opensora_core.ops import HALF, PART_AXES, PATTERNS
from opensora_kernels.cpu.row_blocks import by_blocks
from opensora_kernels.cpu.threads import default_threads

from .numpy_attention import softmax_in_place
from .numpy_ops import NumpyOps

Function = Callable[..., Any]


def numpy_whole(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    """All logits at once; softmax in place."""
    return _whole(softmax_in_place, q, k, v, mask, scale)


def numpy_blocked(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    """A block of queries at a time; softmax in place."""
    return by_blocks(q, k, v, mask, scale, softmax_in_place)


def numba_whole(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    """All logits at once; softmax by the compiled kernel."""
    from opensora_kernels.cpu.softmax import masked_softmax, softmax

    threads = default_threads()
    return _whole(
        lambda x, seen: softmax(x, threads) if seen is None else masked_softmax(x, seen, threads), q, k, v, mask, scale
    )


def numba_blocked(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    """A block of queries at a time; softmax by the compiled kernel."""
    from opensora_kernels.cpu.blockwise import attention

    return attention(q, k, v, mask, scale, default_threads())


def numba_few_keys(q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    """Logits of all queries to a few keys, the other way round; softmax along the queries."""
    from opensora_kernels.cpu.few_keys import attention

    return attention(q, k, v, mask, scale, default_threads())


def numba_along_time(qkv: Any, pattern: str, q_norm: Any, k_norm: Any, cos: Any, sin: Any) -> Any:
    """Norm, rotation and attention of one sequence at a time, read in place."""
    from .numba_attention import along_time

    return along_time(qkv, q_norm, k_norm, cos, sin, default_threads())


def _whole(softmax: Function, q: Any, k: Any, v: Any, mask: Any, scale: float) -> Any:
    logits = np.matmul(q * q.dtype.type(scale), np.swapaxes(k, -1, -2))
    return np.matmul(softmax(logits, mask), v)


def _as_op(version: Function) -> Function:
    """The arguments of `Ops.attention`: mask and scale may be left out, and half precision is allowed."""

    def attention(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
        out = version(*map(_widened, (q, k, v)), mask, q.shape[-1] ** -0.5 if scale is None else scale)
        return out.astype(q.dtype, copy=False)

    return attention


def _of_video(version: Function) -> Function:
    """The arguments of `Ops.attention_3d` with norm and rotation, in half precision too."""

    def attention_3d(qkv: Any, pattern: str, *prepared: Any) -> Any:
        return version(_widened(qkv), pattern, *prepared).astype(qkv.dtype, copy=False)

    return attention_3d


def _by_numpy(attention: Function) -> Function:
    """attention_3d by NumPy's norm and rotation, and a version of attention."""

    class Versioned(NumpyOps):
        def attention(self, q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
            return attention(q, k, v, mask, scale)

    return Versioned().attention_3d


def _by_numba(attention: Function) -> Function:
    """attention_3d by the compiled norm and rotation, and a version of attention."""

    def attention_3d(qkv: Any, pattern: str, q_norm: Any, k_norm: Any, cos: Any, sin: Any) -> Any:
        from .numba_attention import parts

        q, k, v = (x.transpose(PART_AXES[pattern]) for x in parts(qkv, pattern, q_norm, k_norm, cos, sin))
        return attention(q, k, v, None, qkv.shape[-1] ** -0.5).transpose(PATTERNS[pattern][1])

    return _of_video(attention_3d)


def _widened(x: Any) -> Any:
    return x.astype(np.float32) if x.dtype.name in HALF else x


def _few_keys(q: Any, k: Any, v: Any, mask: Any = None) -> str | None:
    from opensora_kernels.cpu.few_keys import FEWEST_QUERIES, MOST_KEYS, serves

    if serves(q, k, v, mask):
        return None
    return (
        f"it takes {FEWEST_QUERIES} queries or more to at most {MOST_KEYS} keys, masked alike for all queries, "
        f"and here are {q.shape[-2]} to {k.shape[-2]}"
    )


def _few_keys_of_video(qkv: Any, pattern: str, *prepared: Any) -> str | None:
    q, k, v = (qkv[:, :, :, i].transpose(PART_AXES[pattern]) for i in range(3))
    return _few_keys(q, k, v)


def _along_time(qkv: Any, pattern: str, *prepared: Any) -> str | None:
    return None if pattern == "temporal" else f"it takes the pattern temporal, and here is {pattern}"


@dataclass(frozen=True)
class Version:
    """Functions by op; for the ops of which it cannot take everything, why not such arguments (None if it can)."""

    functions: Mapping[str, Function]
    refusals: Mapping[str, Callable[..., str | None]]


def _numpy(function: Function) -> Version:
    op = _as_op(function)
    return Version({"attention": op, "attention_3d": _by_numpy(op)}, {})


def _numba(function: Function, **refusals: Callable[..., str | None]) -> Version:
    return Version({"attention": _as_op(function), "attention_3d": _by_numba(function)}, refusals)


VERSIONS = {
    "numpy:whole": _numpy(numpy_whole),
    "numpy:blocked": _numpy(numpy_blocked),
    "numba:whole": _numba(numba_whole),
    "numba:blocked": _numba(numba_blocked),
    "numba:few-keys": _numba(numba_few_keys, attention=_few_keys, attention_3d=_few_keys_of_video),
    "numba:along-time": Version({"attention_3d": _of_video(numba_along_time)}, {"attention_3d": _along_time}),
}
