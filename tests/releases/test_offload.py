"""Denoisers whose blocks stay in their file give the same numbers, and hold the weights of one block at a time."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.mmdit import MMDiT
from opensora_core.dit.mmdit_config import MMDiTConfig
from opensora_core.dit.stdit import STDiT, STDiTConfig
from opensora_core.dit.stdit2 import STDiT2, STDiT2Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.dit.stdit3_windows import WindowedConfig, WindowedSTDiT3
from opensora_core.interpose.memory import MemoryCounter
from opensora_core.module import named_leaves, state_dict
from opensora_core.nn.init import RandomInit, ShapeInit
from opensora_core.registry import get_backend
from opensora_core.releases import offload
from opensora_core.releases.offload import offloaded
from opensora_core.releases.release import RELEASES
from opensora_core.releases.task import Task, Text
from opensora_core.serialization import arriving
from opensora_core.serialization.reader import open_safetensors
from opensora_core.serialization.writer import write_safetensors

TINY = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 8, "model_max_length": 6, "qk_norm": True}
SMALL = {**TINY, "qk_norm": False, "input_size": (2, 4, 4)}
MODELS: dict[str, tuple[Any, Any, int]] = {
    "v1.0": (STDiT, STDiTConfig(**SMALL), 4),
    "v1.1": (STDiT2, STDiT2Config(**TINY, input_sq_size=512), 4),
    "v1.2": (STDiT3, STDiT3Config(**TINY), 4),
    "v1.3": (WindowedSTDiT3, WindowedConfig(**TINY, in_channels=4, kernel_size=(2, 2, -1)), 4),
    "v2.0": (MMDiT, MMDiTConfig(64, 6, 8, 24, 2.0, 2, 2, 2, (4, 4, 4)), 16),
}


def denoised(ops: Any, release: str, model: Any, channels: int) -> Any:
    """Latents after two steps."""
    rng = np.random.default_rng(0)
    features, mask = rng.standard_normal((1, 6, 8)).astype(np.float32), np.arange(6)[None] < 4
    vector = rng.standard_normal((1, 6)).astype(np.float32)
    text = Text(features, mask, (features * 0, mask), vector, vector * 0)
    task = Task((channels, 2, 4, 4), 17, 32, 32, 24.0, num_inference_steps=2, guidance_scale=7.0, seed=0)
    return list(islice(RELEASES[release].sample(ops, model, task, text, None), 2))[-1].latents


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("release", MODELS)
def test_the_numbers_are_the_same_to_the_last_bit(release: str, backend: str, tmp_path: Path) -> None:
    kind, config, channels = MODELS[release]
    ops = get_backend(backend)
    draws = np.random.default_rng(1)
    weights = {
        name: (0.1 * draws.standard_normal(array.shape)).astype(np.float32)
        for name, array in named_leaves(kind.create(config, RandomInit(0)))
    }
    write_safetensors(tmp_path / "a.safetensors", weights)
    mapped = dict(open_safetensors(tmp_path / "a.safetensors"))
    shell = kind.create(config, ShapeInit())
    resident = offload.rebuild(shell, {name: ops.asarray(array) for name, array in weights.items()})
    expected, found = (
        ops.to_numpy(denoised(ops, release, model, channels)) for model in (resident, offloaded(ops, shell, mapped))
    )
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("release", MODELS)
def test_weights_of_one_block_live_at_a_time(release: str) -> None:
    kind, config, channels = MODELS[release]
    wide = {"hidden_size": 192, "num_heads": 4} if release != "v2.0" else {"hidden_size": 384, "axes_dim": (64, 64, 64)}
    shell = kind.create(replace(config, **wide), ShapeInit())
    counter = MemoryCounter("numpy", "float32")
    model = offloaded(counter, shell, state_dict(shell))
    resident = counter.ledger.arrived
    denoised(counter, release, model, channels)
    lists = [getattr(shell, name) for name in vars(shell) if name.endswith("blocks")]
    blocks = [sum(array.nbytes for _, array in named_leaves(block)) for blocks in lists for block in blocks]
    inputs = 60_000  # latents, text, tables of positions
    assert counter.ledger.most_arrived - resident <= max(blocks) + inputs < 1.3 * max(blocks)


def test_pages_of_a_block_are_forgotten_after_it_has_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ops, forgotten = get_backend("numpy"), []
    kind, config, channels = MODELS["v1.2"]
    weights = {name: np.asarray(array) for name, array in named_leaves(kind.create(config, RandomInit(0)))}
    monkeypatch.setattr(arriving, "forget_pages", lambda array: forgotten.append(id(array)))
    model = offloaded(ops, kind.create(config, ShapeInit()), weights)
    denoised(ops, "v1.2", model, channels)
    assert {name for name, array in weights.items() if forgotten.count(id(array)) > 1} == {  # once when they arrive
        name for name in weights if "_blocks." in name
    }
