# ruff: noqa: E501
"""Faults to seed into the attention kernels: (name, source file, what stands there, what stands there instead).

Each is a slip a person makes: a barrier or wait left out, a guard off by one, a wrong index, a factor forgotten.
"""

TEMPORAL, FLASH, COMMON = "temporal_attention.cu", "flash_attention.cu", "attention.cuh"

FAULTS = [
    # ------------------------------------------------------------ waiting for each other
    ("tables are used before they are there", TEMPORAL, "  __syncthreads();\n  if (h >= H)", "  if (h >= H)"),
    ("temporal tiles are read before they land", TEMPORAL, "ptx::cp_async_wait<0>();", "ptx::cp_async_wait<1>();"),
    ("plain weights are read at once", TEMPORAL, "weights[lane] = weight;\n    __syncwarp();", "weights[lane] = weight;"),
    ("keys are read before they land", FLASH, "ptx::cp_async_wait<3>();", "ptx::cp_async_wait<4>();"),
    ("values are read before they land", FLASH, "ptx::cp_async_wait<2>();", "ptx::cp_async_wait<3>();"),
    ("no barrier before the keys", FLASH, "__syncthreads();  // these keys, and the queries, are in", ""),
    ("no barrier after the keys' preparation", FLASH, "__syncthreads();  // these keys are prepared", ""),
    ("no barrier before the values", FLASH, "__syncthreads();  // these values are in", ""),
    ("no barrier before the tiles are overwritten", FLASH, "__syncthreads();  // both tiles may be overwritten", ""),
    ("the result is stored before it is there", COMMON, "  __syncwarp();\n  for (int i = lane; i < 16", "  for (int i = lane; i < 16"),
    ("plain tiles are overwritten while read", FLASH, "__syncthreads();  // the tiles before are used", ""),
    ("plain tiles are read before they are there", FLASH, "__syncthreads();  // these are in", ""),
    # ------------------------------------------------------------ edges
    ("a frame too many", TEMPORAL, "const bool valid = t < frames;", "const bool valid = t <= frames;"),
    ("a key too many along time", TEMPORAL, "lane % 4 * 2 + e < frames", "lane % 4 * 2 + e <= frames"),
    ("a frame too many is stored", TEMPORAL, "i < frames * CHUNKS", "i < (frames + 1) * CHUNKS"),
    ("a head too many", TEMPORAL, "if (h >= H) return;\n\n  T* q", "if (h > H) return;\n\n  T* q"),
    ("a plain key too many along time", TEMPORAL, "if (lane < frames) {", "if (lane <= frames) {"),
    ("a key too many", FLASH, "const bool sees = key < keys &&", "const bool sees = key <= keys &&"),
    ("the last tile's edge is not looked at", FLASH, "if (mask || first_key + KEYS > keys)", "if (mask)"),
    ("rows beyond the end are loaded", COMMON, "const bool valid = first + row < end;", "const bool valid = true;"),
    ("rows beyond the end are stored", COMMON, "    if (first + row < end)\n      *rein", "    *rein"),
    ("a log-sum too many", FLASH, "lse && lane % 4 == 0 && query < queries", "lse && lane % 4 == 0"),
    ("a plain key too many", FLASH, "bool seen = key < keys;", "bool seen = key <= keys;"),
    ("a plain query too many", FLASH, "if (query >= queries) continue;", "if (query > queries) continue;"),
    ("a tile too few", FLASH, "tiles = (keys + KEYS - 1) / KEYS", "tiles = keys / KEYS"),
    ("lengths are not looked at", FLASH, "if (lengths) keys = min(keys, max(0, lengths[outer]));\n  const", "const"),
    ("the last channels are forgotten", COMMON, "if constexpr (D / 8 % 2 == 1)", "if constexpr (D / 8 % 2 == 2)"),
    ("a row's last chunk is forgotten", COMMON, "if (c + part < D / 8) sum", "if (c + part < D / 8 - 1) sum"),
    # ------------------------------------------------------------ arithmetic
    ("unscaled logits", TEMPORAL, "x * (scale * LOG2_E)", "x * LOG2_E"),
    ("weights are not normalised", TEMPORAL, "inverse[half] = 1.f / sum", "inverse[half] = 1.f"),
    ("the sum misses a pair of lanes", TEMPORAL, "sum += __shfl_xor_sync(WARP_MASK, sum, 2);", ""),
    ("a maximum of half the row", TEMPORAL, "most = fmaxf(most, __shfl_xor_sync(WARP_MASK, most, 2));", ""),
    ("keys normed by the queries' weights", TEMPORAL, "weights + key * D", "weights"),
    ("rotated by the next frame's angle", TEMPORAL, "turns + (frames + t) * LR", "turns + (frames + t + 1) * LR"),
    ("sums are not rescaled", FLASH, "sums[c][2 * half] *= shrink,", ""),
    ("totals are not rescaled", FLASH, "total[half] *= shrink;", ""),
    ("plain sums are not rescaled", FLASH, "sums[r][c] *= shrink;", ";"),
    ("a maximum that may be no number", FLASH, "next == MINUS_INFINITY ? 0.f : next;  // no", "next;  // no"),
    ("zero over zero", FLASH, "total[half] == 0.f ? 0.f : 1.f / total[half]", "1.f / total[half]"),
    ("the stage of values that is under way", FLASH, "tiles_v + tile % 2 * KEYS * LD;", "tiles_v + (tile + 1) % 2 * KEYS * LD;"),
    ("mask rows of the wrong stride", FLASH, "mask[query * mask_row + key * mask_key]);\n        seen", "mask[query * mask_key + key * mask_key]);\n        seen"),
    ("the tail reads the channels before", FLASH, "load_a8<T, LD>(held_tail, rows, STEPS * 16, lane);\n      }\n    }", "load_a8<T, LD>(held_tail, rows, STEPS * 16 - 8, lane);\n      }\n    }"),
    ("keys' factors of the next eight", FLASH, "factors + c * 8 + lane % 4 * 2", "factors + c * 8 + 8 + lane % 4 * 2"),
    ("keys' weights are not folded in", FLASH, "cos ? nullptr : k_norm", "nullptr"),
    ("log-sum in base two", FLASH, "most[half] * LN_2", "most[half]"),
    ("unaligned rows", COMMON, "return D + (D / 8 % 2 ? 0 : 8);", "return D + 4;"),
    ("rows that meet in a bank", COMMON, "return D + (D / 8 % 2 ? 0 : 8);", "return D + (D / 8 % 2 ? 8 : 0);"),
    ("fragments swapped", COMMON, "first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};\n  ptx", "first[2] = {b[0], b[2]}, second[2] = {b[1], b[3]};\n  ptx"),
    ("rotation the other way", COMMON, "x.x = even * c - x.y * s;", "x.x = even * c + x.y * s;"),
    ("no epsilon", COMMON, "return rsqrtf(sum / D + eps);", "return rsqrtf(sum / D);"),
    ("norm over the sum", COMMON, "factor = rsqrtf(warp_sum(sum) / D + with.eps);", "factor = rsqrtf(warp_sum(sum) + with.eps);"),
    ("partners of the plain rotation", COMMON, "(d % 2 ? partner : -partner)", "(d % 2 ? -partner : partner)"),
    ("shuffle in a branch", FLASH, "next = fmaxf(next, __shfl_xor_sync(WARP_MASK, next, 2));", "if (lane < 31) next = fmaxf(next, __shfl_xor_sync(WARP_MASK, next, 2));"),
]  # fmt: skip
