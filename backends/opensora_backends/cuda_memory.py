"""The GPU's memory: a limit for CuPy's pool, and what is said when there is not enough."""

from __future__ import annotations

import os
import re
from typing import Any

from opensora_core.errors import InvalidInputError

from .cuda_libraries import Libraries

VARIABLE = "OPENSORA_CUDA_MEMORY"
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_limit(text: str) -> dict[str, Any]:
    """Return what CuPy's pool takes for "8G", "8GiB", "500M", "1073741824" or "80%"."""
    if (share := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())) and 0 < float(share[1]) <= 100:
        return {"fraction": float(share[1]) / 100}
    size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if size is None or float(size[1]) == 0:
        raise InvalidInputError(f"{VARIABLE}={text!r} is no amount of memory: expected such as 8GiB, 500M or 80%")
    return {"size": int(float(size[1]) * UNITS[size[2].upper()])}


def set_limit(lib: Libraries, text: str) -> int:
    """Limit the memory that arrays on the current GPU may take, all together; returns it in bytes."""
    pool = lib.xp.get_default_memory_pool()
    pool.set_limit(**parse_limit(text))
    return int(pool.get_limit())


def limit_from_environment(lib: Libraries) -> None:
    """Set the limit that OPENSORA_CUDA_MEMORY names, if it does."""
    if text := os.environ.get(VARIABLE):
        set_limit(lib, text)


def out_of_memory(lib: Libraries, op: str, error: Exception) -> str:
    """Say how much was asked for, how much there is, and what to do."""
    free, total = lib.xp.cuda.runtime.memGetInfo()
    pool = lib.xp.get_default_memory_pool()
    limit = pool.get_limit()
    within = f", limited to {_shown(limit)}" if limit else ""
    first = str(error).partition("\n")[0].rstrip(".")
    return (
        f"{op} does not fit into the GPU: {first[:1].lower() + first[1:]}; {_shown(free)} of {_shown(total)} are free, "
        f"this program holds {_shown(pool.total_bytes())}{within}. Ask for a smaller size or fewer frames, load the "
        f"model in bfloat16, end other programs on the GPU, or raise {VARIABLE}"
    )


def _shown(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**27 else f"{count / 2**20:.2f} MiB"
