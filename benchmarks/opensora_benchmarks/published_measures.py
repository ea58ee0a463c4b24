"""What `published_models` measures, each in a process of its own: loading, a step, blocks, a prompt, names."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .memory import peak_of_process, peak_so_far, share
from .published_weights import RandomWeights

FRAMES, HEIGHT, WIDTH = 17, 144, 256  # of the step
TEXT, GRID = 512, (5, 16, 16)  # tokens of the blocks: a prompt, and latents of 17 frames of 256x256 in patches of 2x2
TURNS = 3
PROMPT = 300, 40  # tokens of an encoded prompt, and those that are no padding
Row = dict[str, Any]


def load(path: str, backend: str, dtype: str) -> Row:
    """Load a model and tell seconds, peak, and what its weights take on the backend."""
    from opensora_core.registry import get_backend
    from opensora_core.releases.loading import load_published

    ops = get_backend(backend, dtype=dtype)
    model: list[Any] = []
    seconds, peak = _measured(lambda: model.append(load_published(path, ops).model))
    weights = _weight_bytes(model[0])
    memory = {"peak_bytes": peak, "weight_bytes": weights, "peak_share": share(peak, weights)}
    return {"seconds": seconds, **memory}


def step(path: str, backend: str, dtype: str) -> Row:
    """Load a denoiser of v1.2 and take one guided step: two rows of latents, the official sampler.

    planned_share: of the memory that the whole process takes, what `opensora plan` foretells.
    """
    import numpy as np

    from opensora_core.pipelines.published.components import ReleaseFiles
    from opensora_core.pipelines.published.planning import GenerationPlan
    from opensora_core.registry import get_backend
    from opensora_core.releases.loading import load_published
    from opensora_core.releases.release import RELEASES
    from opensora_core.releases.task import Task, Text

    ops = get_backend(backend, dtype=dtype)
    denoiser = load_published(path, ops).model
    shape = (4, 5, HEIGHT // 8, WIDTH // 8)
    task = Task(shape, FRAMES, HEIGHT, WIDTH, 24.0, num_inference_steps=30, guidance_scale=7.0, seed=0)
    text = Text(np.random.default_rng(0).standard_normal((1, 300, 4096)).astype(np.float32), np.arange(300)[None] < 40)
    steps: list[Any] = []
    seconds, peak = _measured(
        lambda: steps.append(next(iter(RELEASES["v1.2"].sample(ops, denoiser, task, text, None))))
    )
    whole = peak_so_far()
    finite = bool(np.isfinite(np.asarray(ops.to_numpy(steps[0].latents))).all())
    size = {"num_frames": FRAMES, "height": HEIGHT, "width": WIDTH, "latents": [2, *shape]}
    weights = _weight_bytes(denoiser)
    plan = GenerationPlan(ReleaseFiles([path]), backend, dtype, num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    planned = next(stage.peak for stage in plan.stages() if stage.name == "denoiser")
    planned_of = {"process_bytes": whole, "planned_bytes": planned, "planned_share": share(planned, whole)}
    memory = {"peak_bytes": peak, "weight_bytes": weights, **planned_of}
    return {"seconds": seconds, **memory, **size, "finite": finite}


def run_blocks(table: str, kind: str, backend: str, dtype: str) -> Row:
    """Seconds of the processor that one block of an MMDiT takes, the median of some turns after a first one."""
    import numpy as np

    from opensora_core.dit.mmdit import MMDiT
    from opensora_core.dit.mmdit_config import MMDiTConfig
    from opensora_core.dit.mmdit_layers import JointAttention, joint_rope
    from opensora_core.module import rebuild
    from opensora_core.nn.attention import Rope
    from opensora_core.nn.init import ShapeInit
    from opensora_core.registry import get_backend
    from opensora_core.serialization.arriving import Arriving
    from opensora_core.testing.running import arrays_in

    ops, config = get_backend(backend, dtype=dtype), MMDiTConfig()
    shell = getattr(MMDiT.create(config, ShapeInit()), kind)[0]
    block = rebuild(shell, Arriving(ops, RandomWeights.published(table)), f"{kind}.0.")
    tokens, rng = TEXT + GRID[0] * GRID[1] * GRID[2], np.random.default_rng(0)
    shapes = (1, tokens, config.hidden_size), (1, config.hidden_size)
    x, vector = (ops.asarray(rng.standard_normal(shape, np.float32), dtype) for shape in shapes)
    rope = Rope(*joint_rope(ops, TEXT, GRID, config.axes_dim, config.theta))
    attend = JointAttention(rope, config.num_heads, config.use_liger_rope)
    parts = (x,) if kind == "single_blocks" else (x[:, TEXT:], x[:, :TEXT])

    made: list[Any] = []

    def run() -> None:
        made[:] = arrays_in([block(ops, *parts, vector, attend)])

    peak = peak_of_process(run)
    seconds = sorted(_processor_seconds(run) for _ in range(TURNS))
    finite = all(bool(np.isfinite(np.asarray(ops.to_numpy(y), np.float32)).all()) for y in made)
    size = {"tokens": tokens, "text_tokens": TEXT, "grid": list(GRID), "finite": finite}
    weights = _weight_bytes(block)
    return {"seconds": round(seconds[TURNS // 2], 3), "peak_bytes": peak, "weight_bytes": weights, **size}


def _processor_seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def encode(path: str, backend: str, dtype: str) -> Row:
    """Encode one prompt by a T5 that stays in its file, and tell seconds, memory, and what was foretold of it."""
    import numpy as np

    from opensora_core.pipelines.published.planning import GenerationPlan
    from opensora_core.registry import get_backend
    from opensora_core.releases.release import RELEASES
    from opensora_core.releases.text_models import open_t5

    ops, (length, count) = get_backend(backend, dtype=dtype), PROMPT
    encoder, ids = open_t5(path), np.arange(length)[None]
    features: list[Any] = []
    seconds, peak = _measured(lambda: features.append(encoder(ops, ids, ids < count)))
    whole = peak_so_far()
    planned = next(iter(GenerationPlan(RELEASES["v1.2"], backend, dtype).stages())).peak
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "weight_bytes": sum(array.nbytes for array in encoder.weights.values()),
        "process_bytes": whole,
        "planned_bytes": planned,
        "planned_share": share(planned, whole),
        "tokens": length,
        "finite": bool(np.isfinite(np.asarray(ops.to_numpy(features[0]), np.float32)).all()),
    }


def check(table: str) -> Row:
    """Seconds in which all names and shapes of a model are held against the code; nothing of its size is allocated."""
    import numpy as np

    from opensora_core.releases.architectures import recognise
    from opensora_core.releases.checkpoint import Checkpoint
    from opensora_core.releases.loading import fit_published

    weights = RandomWeights.published(table)
    shells = {name: np.broadcast_to(np.float32(0), shape) for name, shape in weights.shapes.items()}

    def run() -> None:
        fit_published(recognise(weights.shapes, table), Checkpoint(table, shells, {}))

    seconds, peak = _measured(run)
    return {"seconds": seconds, "peak_bytes": peak, "weight_bytes": 2 * weights.parameters}


def _measured(call: Callable[[], Any]) -> tuple[float, int | None]:
    taken: list[float] = []

    def timed() -> None:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)

    peak = peak_of_process(timed)
    return round(taken[0], 3), peak


def _weight_bytes(model: Any) -> int:
    from opensora_core.interpose.costs.sizes import nbytes
    from opensora_core.module import named_leaves

    return sum(nbytes(leaf) for _, leaf in named_leaves(model))
