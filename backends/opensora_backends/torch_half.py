"""Which instructions of this CPU multiply bfloat16 for Torch."""

from __future__ import annotations

import torch

INSTRUCTIONS = {  # by name: Torch's own test, which is no public function; without it nothing is known
    "AMX": "_is_amx_tile_supported",
    "avx512_bf16": "_is_avx512_bf16_supported",
}


def bfloat16_instructions() -> str | None:
    """Name of the instructions; None where the CPU has none of those known, and bfloat16 is slow."""
    return next((name for name, test in INSTRUCTIONS.items() if getattr(torch.cpu, test, bool)()), None)
