"""Predicted memory is what real runs of the same programs take, on NumPy and Torch, op by op and as a whole."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch.profiler import ProfilerActivity, profile

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.interpose.memory import MemoryCounter, fused
from opensora_core.module import to_backend
from opensora_core.nn.init import RandomInit, ShapeInit
from opensora_core.registry import get_backend
from opensora_core.releases.release import RELEASES
from opensora_core.releases.task import Task, Text
from opensora_kernels.cpu import row_blocks

CONFIG = STDiT3Config(
    hidden_size=64, depth=1, num_heads=2, caption_channels=16, model_max_length=20, qk_norm=True
)  # fmt: skip
TASK = Task((4, 5, 24, 40), 17, 192, 320, 24.0, num_inference_steps=2, guidance_scale=7.0, seed=0)
TEXT = Text(np.zeros((1, 20, 16), np.float32), np.arange(20)[None] < 8)


def sample(ops: Any, model: Any) -> None:
    for _ in RELEASES["v1.2"].sample(ops, model, TASK, TEXT, None):
        pass


def taken_by_numpy(call: Callable[[], None]) -> int:
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def taken_by_torch(call: Callable[[], None]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    assert record.profiler is not None
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda e: e.start_ns())]
    return int(np.cumsum(sizes).max())


TAKEN = {"numpy": taken_by_numpy, "torch": taken_by_torch}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("backend", TAKEN)
def test_two_steps_of_a_denoiser_take_what_was_predicted(backend: str, dtype: str) -> None:
    counter = MemoryCounter(backend, dtype)
    outline = to_backend(counter, STDiT3.create(CONFIG, ShapeInit()))
    weights = counter.ledger.live
    sample(counter, outline)
    predicted = counter.ledger.peak - weights
    ops = get_backend(backend, dtype=dtype)
    model = to_backend(ops, STDiT3.create(CONFIG, RandomInit(0)))
    sample(ops, model)  # what a first run keeps for the next ones
    assert predicted == pytest.approx(TAKEN[backend](lambda: sample(ops, model)), rel=0.1)


def test_weights_count_while_they_are_held_and_nothing_is_left_behind() -> None:
    counter = MemoryCounter("numpy", "bfloat16")
    model = to_backend(counter, STDiT3.create(CONFIG, ShapeInit()))
    sizes = [leaf.value.nbytes for leaf in _leaves(model)]
    assert counter.ledger.live == counter.ledger.arrived == sum(sizes)
    sample(counter, model)
    assert counter.ledger.live == sum(sizes)
    del model
    assert counter.ledger.live == 0


def _leaves(model: Any) -> list[Any]:
    from opensora_core.module import named_leaves

    return [leaf for _, leaf in named_leaves(model)]


@pytest.mark.parametrize("backend", ["numpy", "torch", "cuda"])
def test_views_are_free_and_copies_are_not(backend: str) -> None:
    ops = MemoryCounter(backend)
    x = ops.full((2, 3, 4), 1.0)
    y = ops.permute_dims(x, (2, 0, 1))
    assert (y.shape, ops.ledger.live) == ((4, 2, 3), 96)
    z = ops.reshape(y, (8, 3))
    assert ops.ledger.live == 96 + 96
    same = ops.broadcast_to(ops.reshape(x[:, 1:], (1, 2, 2, 4)), (1000, 2, 2, 4))
    assert (same.shape, ops.ledger.live) == ((1000, 2, 2, 4), 96 + 96)
    del x, y, z
    assert ops.ledger.live == 96  # the broadcast view holds it


def test_a_model_of_any_size_is_run_in_no_memory() -> None:
    counter = MemoryCounter("torch", "bfloat16")
    x = counter.full((1, 24, 10**6, 128), 0.0, "bfloat16")
    out = counter.attention(x, x, x)
    assert (out.shape, counter.ledger.peak) == (x.shape, 2 * x.value.nbytes)
    plain = MemoryCounter("numpy", "float32")
    x = plain.full((1, 24, 10**6, 128), 0.0)
    plain.attention(x, x, x)
    assert 2 * x.value.nbytes < plain.ledger.peak < 2.1 * x.value.nbytes  # a few rows of logits at a time
    by_default = MemoryCounter("cuda", "float32")
    x = by_default.full((1, 24, 10**6, 128), 0.0)
    by_default.attention(x, x, x)
    assert by_default.ledger.peak > 2 * 24 * 4 * 10**12  # logits and weights of all pairs


def test_blocks_of_attention_are_counted_as_large_as_they_are():
    assert (fused.BLOCK, fused.LEAST_ROWS) == (row_blocks.BLOCK, row_blocks.LEAST)
