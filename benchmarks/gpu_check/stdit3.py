"""One step of STDiT3-XL/2 with random weights at 480p, by this backend and by Torch: do they agree, and how long."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from device import Check

DEPTH, HIDDEN, HEADS, FRAMES, HEIGHT, WIDTH = 28, 1152, 16, 15, 60, 106  # latents of 480x848
CHUNK = 2**20


def run(check: Check) -> dict[str, Any]:
    """Run it once cold and a few times warm; compare with Torch in bfloat16, and both with Torch in float32."""
    from opensora_core.dit.config import STDiT3Config
    from opensora_core.dit.stdit3 import STDiT3
    from opensora_core.nn.init import ShapeInit

    if check.dry:
        config = STDiT3Config(hidden_size=144, num_heads=2, depth=1, caption_channels=16, model_max_length=8)
        size = (2, 4, 4)
    else:
        config = STDiT3Config(hidden_size=HIDDEN, num_heads=HEADS, depth=DEPTH)
        size = (FRAMES, HEIGHT, WIDTH)
    shapes = STDiT3.create(config, ShapeInit())
    found: dict[str, Any] = {"size": size, "hidden": config.hidden_size, "depth": config.depth}
    predictions = {}
    for name, ops in _backends(check).items():
        prediction, cold, warm = _predict(check, ops, shapes, config, size)
        predictions[name] = prediction
        found[name] = {"first_s": round(cold, 3), "step_s": round(warm, 4)}
        print(name, found[name], flush=True)
    return {**found, **_judge(predictions)}


def _backends(check: Check) -> dict[str, Any]:
    found = {"cuda bfloat16": check.backend("cuda:0", "bfloat16")}
    if check.torch is not None:
        from opensora_backends.torch_ops import TorchOps

        found["torch bfloat16"] = TorchOps(check.torch_device, "bfloat16")
        found["torch float32"] = TorchOps(check.torch_device, "float32")
    return found


def _predict(check: Check, ops: Any, shapes: Any, config: Any, size: tuple[int, ...]) -> tuple[Any, float, float]:
    from opensora_core.module import num_parameters, tree_map

    chunk = np.random.default_rng(0).standard_normal(CHUNK).astype(np.float32) * 0.02

    def weight(leaf: Any) -> Any:  # numbers repeat: drawing a billion would take longer than the step
        return ops.asarray(np.resize(chunk, leaf.shape), ops.dtype)

    model = tree_map(weight, shapes)
    rng = np.random.default_rng(1)
    x = ops.asarray(rng.standard_normal((2, config.in_channels, *size)), ops.dtype)
    text = ops.asarray(rng.standard_normal((2, config.model_max_length, config.caption_channels)), ops.dtype)
    mask = ops.asarray(np.arange(config.model_max_length)[None] < config.model_max_length // 2)
    fps, t = ops.full((2,), 24.0), ops.full((2,), 500.0)
    times, out = [], None
    for _ in range(2 if check.dry else 4):
        start = time.perf_counter()
        out = ops.to_numpy(model(ops, x, t, text, mask, None, fps, 480.0, 848.0))
        times.append(time.perf_counter() - start)
    assert num_parameters(model) > 0
    return np.asarray(out, np.float64), times[0], min(times[1:])


def _judge(predictions: dict[str, Any]) -> dict[str, Any]:
    """Ours in half precision may be at most twice as far from float32 as Torch's."""
    ours = predictions["cuda bfloat16"]
    if not np.isfinite(ours).all():
        return {"failures": ["the prediction is not finite"]}
    if "torch float32" not in predictions:
        return {"compared": "Torch is not here"}
    truth = predictions["torch float32"]
    errors = {n: float(np.linalg.norm(p - truth) / np.linalg.norm(truth)) for n, p in predictions.items()}
    limit = 2 * errors["torch bfloat16"] + 1e-6
    found = errors["cuda bfloat16"]
    return {"relative_l2": errors, "failures": [] if found <= limit else [f"error {found:.3g} above {limit:.3g}"]}
