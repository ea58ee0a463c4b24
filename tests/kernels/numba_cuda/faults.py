# ruff: noqa: E501
"""Faults to seed into the kernels in Python: (name, module, before, after)."""

FAULTS = [
    ("a sum of half the warp", "warp", "distance = WARP // 2\n    while distance > 0:\n        x +=", "distance = WARP // 4\n    while distance > 0:\n        x +="),
    ("a maximum of neighbours", "warp", "x = max(x, cuda.shfl_xor_sync(ALL_LANES, x, distance))\n        distance //= 2", "x = max(x, cuda.shfl_xor_sync(ALL_LANES, x, distance))\n        distance //= 32"),
    ("pairs are turned before they are written", "temporal_kernel", "cuda.syncwarp()  # a pair of channels is written by two lanes", "pass"),
    ("sums before the weights are there", "temporal_kernel", "cuda.syncwarp()  # all weights are there", "pass"),
    ("values are normed", "temporal_kernel", "if which < 2 and normed", "if normed | 4"),
    ("rotated the other way", "temporal_kernel", "even * c - odd * n", "even * c + odd * n"),
    ("lanes without a key count", "temporal_kernel", "logit = float32(-math.inf)", "logit = float32(0.0)"),
    ("keys before the tile is in", "flash_kernel", "cuda.syncthreads()  # the tile is in", "pass"),
    ("a tile is overwritten", "flash_kernel", "cuda.syncthreads()  # the tile may be overwritten", "pass"),
    ("sums are not rescaled", "flash_kernel", "sums[d] * shrink", "sums[d]"),
    ("the total is not rescaled", "flash_kernel", "total * shrink", "total"),
    ("keys beyond the end", "flash_kernel", "here = min(KEYS, M - first)", "here = KEYS"),
    ("an uncentred variance", "norm_kernel", "y = float32(x[row, d]) - mean\n        squares", "y = float32(x[row, d])\n        squares"),
    ("no epsilon", "norm_kernel", "warp_sum(squares) / float32(D) + eps", "warp_sum(squares) / float32(D)"),
    ("the mean of one lane", "norm_kernel", "mean = warp_sum(mean) / float32(D)", "mean = mean / float32(D)"),
    ("no gate", "norm_kernel", "float32(gate[i]) * ", ""),
    ("the first group's weights", "norm_kernel", "float32(weight[group, c])", "float32(weight[0, c])"),
    ("every pair has the first weight", "rotary_kernel", "weight[2 * pair]", "weight[0]"),
    ("positions of the first row", "rotary_kernel", "c, n = cos[row, pair]", "c, n = cos[0, pair]"),
    ("rope the other way", "rotary_kernel", "odd * c + even * n", "odd * c - even * n"),
    ("no border", "conv_kernel", "- padding[2]", ""),
    ("steps of another axis", "conv_kernel", "stride[1]", "stride[2]"),
    ("no decay", "adamw_kernel", "weights[i]) * keep", "weights[i])"),
    ("an unscaled gradient", "adamw_kernel", " * factor[0]", ""),
]  # fmt: skip
