"""warmup: everything that a backend compiles, compiled now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from typer import Option

from .model_options import find_backend
from .screen import Screen, columns

if TYPE_CHECKING:
    from ..ops import Ops


def warmup(
    screen: Screen,
    backend: Annotated[str, Option(help="Whose kernels to compile.")] = "auto",
    device: Annotated[str | None, Option(envvar="OPENSORA_DEVICE", help="Such as cuda:0.")] = None,
    dtype: Annotated[str, Option(envvar="OPENSORA_DTYPE", help="In which models will be loaded.")] = "float32",
) -> None:
    """Compile what a backend would compile while it works, and keep it on disk, so that the first video is not slow.

    Example: opensora warmup --backend cuda --dtype bfloat16
    """
    ops = find_backend(backend, device, dtype)
    seconds = {}
    with screen.progress(f"warming up {ops.name}", report=True) as advance:
        tasks = {"kernels": getattr(ops, "warmup", None), "a small model": lambda: run_small_model(ops)}
        for done, (name, task) in enumerate(tasks.items()):
            if task is None:
                continue
            start = time.perf_counter()
            task()
            seconds[name] = round(time.perf_counter() - start, 3)
            advance(done + 1, len(tasks), name)
    rows = [("compiled", "seconds"), *((name, f"{s:.2f}") for name, s in seconds.items())]
    shown = {"backend": ops.name, "device": ops.device, "dtype": ops.dtype, "seconds": seconds}
    screen.result(shown, *columns(rows), f"{ops.name} on {ops.device} is warm for {ops.dtype}")


def run_small_model(ops: Ops) -> None:
    """One pass of STDiT3, of two heads of 72 channels as in the published models, in the dtype of the backend."""
    import numpy as np

    from ..dit.config import STDiT3Config
    from ..dit.stdit3 import STDiT3
    from ..module import to_backend
    from ..nn.init import RandomInit

    config = STDiT3Config(hidden_size=144, num_heads=2, depth=1, caption_channels=16, model_max_length=8)
    model = to_backend(ops, STDiT3.create(config, RandomInit(0)))
    rng = np.random.default_rng(0)
    x = ops.asarray(rng.standard_normal((2, config.in_channels, 3, 4, 4)), ops.dtype)
    text = ops.asarray(rng.standard_normal((2, 8, 16)), ops.dtype)
    mask, fps = ops.asarray(np.arange(8)[None] < 5), ops.full((2,), 8.0)
    ops.to_numpy(model(ops, x, ops.full((2,), 500.0), text, mask, None, fps, 32.0, 32.0))
