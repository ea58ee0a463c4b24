"""Parts of results: an op at full size is checked where its truth, in float64, is quickly found.

Which part is drawn anew for every check, so that a kernel has to get all of it right. The first and the last rows,
heads, frames and edges, where faults are most likely, are drawn more often than others, or always.
"""

from __future__ import annotations

import numpy as np

from .case import Args, HostArray, Index, Part, Rng

ROWS = 24  # of a result that one check looks at
WINDOW = 3  # places along each axis of a convolution


def rows(*along: int) -> Part:
    """Some rows of arguments [..., N, D] that are dealt with row by row. along: which arguments have those rows."""

    def part(rng: Rng, args: Args) -> tuple[Args, Index]:
        index = (..., _some(rng, args[along[0]].shape[-2]), slice(None))
        return tuple(x[index] if i in along else x for i, x in enumerate(args)), index

    return part


def queries(rng: Rng, args: Args) -> tuple[Args, Index]:
    """Attention's result for some queries of one batch entry and head; q [B, H, L, D]."""
    q, k, v, *rest = args
    b, h = (_one(rng, n) for n in q.shape[:2])
    index = (slice(b, b + 1), slice(h, h + 1), _some(rng, q.shape[2]))
    masks = [mask[b : b + 1] if mask is not None and mask.shape[0] > 1 else mask for mask in rest]
    return (q[index], k[index[:2]], v[index[:2]], *masks), index


def heads(rng: Rng, args: Args) -> tuple[Args, Index]:
    """One head of attention_3d, in one frame if it is spatial, at one place if it is temporal."""
    qkv, pattern, *rest = args
    B, T, S, _, H, _ = qkv.shape
    b, t, s, h = (slice(i, i + 1) for i in (_one(rng, n) for n in (B, T, S, H)))
    t, s = {"spatial": (t, slice(None)), "temporal": (slice(None), s), "full": (slice(None), slice(None))}[pattern]
    return (qkv[b, t, s, :, h], pattern, *rest), (b, t, s, h)


def group(rng: Rng, args: Args) -> tuple[Args, Index]:
    """One group of channels of group norm's (x [B, C, ...], groups, weight, bias)."""
    x, groups, weight, bias = args
    width = x.shape[1] // groups
    start = _one(rng, groups) * width
    channels = slice(start, start + width)
    return (x[:, channels], 1, weight[channels], bias[channels]), (slice(None), channels)


def window(rng: Rng, args: Args) -> tuple[Args, Index]:
    """A window of the result of conv's (x [B, C, *size], weight, bias, stride, padding), with stride 1."""
    x, weight, bias, stride, padding = args
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    kernel = weight.shape[2:]
    sizes = [n - k + 1 for n, k in zip(padded.shape[2:], kernel, strict=True)]
    starts = [_one(rng, max(1, n - WINDOW + 1)) for n in sizes]
    cut = tuple(slice(a, a + min(WINDOW, n) + k - 1) for a, n, k in zip(starts, sizes, kernel, strict=True))
    index = tuple(slice(a, a + min(WINDOW, n)) for a, n in zip(starts, sizes, strict=True))
    around: Index = (..., *cut)
    return (padded[around], weight, bias, stride, (0,) * len(padding)), (..., *index)


def frame(rng: Rng, args: Args) -> tuple[Args, Index]:
    """One frame of a spatial block's (weights, tokens [B, T, S, C], ...)."""
    weights, x, *rest = args
    t = _one(rng, x.shape[1])
    index = (slice(None), slice(t, t + 1))
    return (weights, x[index], *rest), index


def places(rng: Rng, args: Args) -> tuple[Args, Index]:
    """Some places of a temporal block's (weights, tokens [B, T, S, C], ...)."""
    weights, x, *rest = args
    index = (slice(None), slice(None), _some(rng, x.shape[2], 4))
    return (weights, x[index], *rest), index


def whole(rng: Rng, args: Args) -> tuple[Args, Index]:
    """All of the result, of which every place depends on all of the inputs."""
    return args, ()


def _one(rng: Rng, count: int) -> int:
    """The first, the last or any of `count` places, each as often."""
    return int(rng.choice([0, count - 1, int(rng.integers(count))]))


def _some(rng: Rng, count: int, most: int = ROWS) -> HostArray:
    """Places in order, none twice, among them the first and the last."""
    ends = {0, count - 1}
    between = rng.permutation(np.arange(1, count - 1))[: most - len(ends)]
    return np.array(sorted(ends | set(between.tolist())))
