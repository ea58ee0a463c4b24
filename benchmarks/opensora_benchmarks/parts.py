"""Parts of results: an op at full size is checked where its truth, in float64, is quickly found.

Which part is drawn anew for every check, so that a kernel has to get all of it right.
"""

from __future__ import annotations

import numpy as np

from .case import Args, Index, Part, Rng

ROWS = 24  # of a result that one check looks at
WINDOW = 3  # places along each axis of a convolution


def rows(*along: int) -> Part:
    """Some rows of arguments [..., N, D] that are dealt with row by row. along: which arguments have those rows."""

    def part(rng: Rng, args: Args) -> tuple[Args, Index]:
        index = (..., np.sort(rng.integers(0, args[along[0]].shape[-2], ROWS)), slice(None))
        return tuple(x[index] if i in along else x for i, x in enumerate(args)), index

    return part


def queries(rng: Rng, args: Args) -> tuple[Args, Index]:
    """Attention's result for some queries of one batch entry and head; q [B, H, L, D]."""
    q, k, v, *rest = args
    b, h = (int(rng.integers(0, n)) for n in q.shape[:2])
    index = (slice(b, b + 1), slice(h, h + 1), np.sort(rng.integers(0, q.shape[2], ROWS)))
    masks = [mask[b : b + 1] if mask is not None and mask.shape[0] > 1 else mask for mask in rest]
    return (q[index], k[index[:2]], v[index[:2]], *masks), index


def heads(rng: Rng, args: Args) -> tuple[Args, Index]:
    """One head of attention_3d, in one frame if it is spatial, at one place if it is temporal."""
    qkv, pattern, *rest = args
    B, T, S, _, H, _ = qkv.shape
    b, t, s, h = (slice(i, i + 1) for i in (int(rng.integers(0, n)) for n in (B, T, S, H)))
    t, s = {"spatial": (t, slice(None)), "temporal": (slice(None), s), "full": (slice(None), slice(None))}[pattern]
    return (qkv[b, t, s, :, h], pattern, *rest), (b, t, s, h)


def group(rng: Rng, args: Args) -> tuple[Args, Index]:
    """One group of channels of group norm's (x [B, C, ...], groups, weight, bias)."""
    x, groups, weight, bias = args
    width = x.shape[1] // groups
    start = int(rng.integers(0, groups)) * width
    channels = slice(start, start + width)
    return (x[:, channels], 1, weight[channels], bias[channels]), (slice(None), channels)


def window(rng: Rng, args: Args) -> tuple[Args, Index]:
    """A window of the result of conv's (x [B, C, *size], weight, bias, stride, padding), with stride 1."""
    x, weight, bias, stride, padding = args
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    kernel = weight.shape[2:]
    sizes = [n - k + 1 for n, k in zip(padded.shape[2:], kernel, strict=True)]
    starts = [int(rng.integers(0, max(1, n - WINDOW + 1))) for n in sizes]
    cut = tuple(slice(a, a + min(WINDOW, n) + k - 1) for a, n, k in zip(starts, sizes, kernel, strict=True))
    index = tuple(slice(a, a + min(WINDOW, n)) for a, n in zip(starts, sizes, strict=True))
    around: Index = (..., *cut)
    return (padded[around], weight, bias, stride, (0,) * len(padding)), (..., *index)


def frame(rng: Rng, args: Args) -> tuple[Args, Index]:
    """One frame of a spatial block's (weights, tokens [B, T, S, C], ...)."""
    weights, x, *rest = args
    t = int(rng.integers(0, x.shape[1]))
    index = (slice(None), slice(t, t + 1))
    return (weights, x[index], *rest), index


def places(rng: Rng, args: Args) -> tuple[Args, Index]:
    """Some places of a temporal block's (weights, tokens [B, T, S, C], ...)."""
    weights, x, *rest = args
    index = (slice(None), slice(None), np.sort(rng.choice(x.shape[2], min(4, x.shape[2]), replace=False)))
    return (weights, x[index], *rest), index


def whole(rng: Rng, args: Args) -> tuple[Args, Index]:
    """All of the result, of which every place depends on all of the inputs."""
    return args, ()
