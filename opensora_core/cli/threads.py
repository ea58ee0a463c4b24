"""How many threads the array libraries start: they read it from the environment when they are loaded.

For small models one is best. Their matrices give a second thread little to do, and threads that wait for each other
spin: where other programs keep the processors busy, that makes a generation many times slower.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SMALL = 64 * 2**20  # bytes of weights
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def limit_threads(model: str | Path | None) -> None:
    """Let a small model (None: the embedded one) be computed by one thread, unless the user chose a number."""
    if "numpy" in sys.modules or any(name in os.environ for name in VARIABLES):
        return
    path = None if model is None else Path(model)
    weights = [] if path is None else [path] if path.is_file() else list(path.rglob("*.safetensors"))
    if sum(file.stat().st_size for file in weights) <= SMALL:
        os.environ.update(dict.fromkeys(VARIABLES, "1"))
