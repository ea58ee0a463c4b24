"""Run as a program of its own: the tensors of an old Torch pickle, written as safetensors.

    python -I torch_unpickle.py SOURCE TARGET

Only tensors and plain containers are unpickled (`weights_only`), in a process without an environment, which may open
few files and use an hour of the CPU.
"""

from __future__ import annotations

import pickle
import resource
import sys
import zipfile
from typing import Any

import torch
from safetensors.torch import save_file

LIMITS = {resource.RLIMIT_CPU: 3600, resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CORE: 0}
NESTED = ("ema", "state_dict", "model", "module")  # under which trainers put the weights, averaged ones first


def read(source: str) -> Any:
    """Return what was pickled; files of before Torch 1.6 are no zip archives and cannot be mapped into memory."""
    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise SystemExit("it holds more than tensors and plain containers, or is damaged") from error


def weights(found: Any) -> dict[str, torch.Tensor]:
    """Return the weights in what was unpickled: a flat state dict, perhaps under one of the usual names."""
    while isinstance(found, dict) and not any(isinstance(value, torch.Tensor) for value in found.values()):
        inner = next((found[name] for name in NESTED if isinstance(found.get(name), dict)), None)
        if inner is None:
            raise SystemExit(f"it holds no weights, but {list(found)[:8]}")
        found = inner
    if not isinstance(found, dict):
        raise SystemExit(f"it holds a {type(found).__name__}, expected a state dict")
    return {name: value.contiguous().clone() for name, value in found.items() if isinstance(value, torch.Tensor)}


if __name__ == "__main__":
    source, target = sys.argv[1:]
    torch.set_num_threads(1)
    for limit, value in LIMITS.items():
        resource.setrlimit(limit, (value, value))
    save_file(weights(read(source)), target)
