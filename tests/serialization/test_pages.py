"""Memory of mapped files is given back, and what was mapped can be read again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.module import state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.registry import get_backend
from opensora_core.releases.loading import load_published
from opensora_core.serialization import arriving
from opensora_core.serialization.pages import forget_pages
from opensora_core.serialization.reader import open_safetensors
from opensora_core.serialization.writer import write_safetensors


def resident(path: Path) -> int:
    """Bytes of a mapped file that are in this process's memory."""
    found, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            found = line.endswith(str(path))
        elif found and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages of a file are in memory")
def test_pages_go_and_come_again(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    numbers = np.arange(2**18, dtype=np.float32).reshape(2, -1)
    write_safetensors(path, {"a": numbers, "b": numbers + 1})
    arrays = dict(open_safetensors(path))
    for name in ("a", "b"):
        arrays[name].sum()
    assert resident(path) >= 2 * numbers.nbytes
    for array in (arrays["a"], arrays["b"][:1], arrays["b"][1:].reshape(4, -1)):
        forget_pages(array)
    assert resident(path) < 2**17  # no more than what the kernel reads around a page
    np.testing.assert_array_equal(arrays["b"], numbers + 1)


def test_arrays_in_memory_are_left_alone() -> None:
    for array in (np.ones(3), np.frombuffer(b"abcd", np.uint8), np.empty(0), np.broadcast_to(np.float32(0), (2, 2))):
        forget_pages(array)
    np.testing.assert_array_equal(np.ones(3), 1)


def test_every_weight_is_forgotten_as_soon_as_it_has_arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = STDiT3Config(hidden_size=24, depth=1, num_heads=2, caption_channels=8, model_max_length=6)
    own = {name: np.asarray(array) for name, array in state_dict(STDiT3.create(config, RandomInit(1))).items()}
    write_safetensors(tmp_path / "a.safetensors", own)
    forgotten: list[int] = []
    monkeypatch.setattr(arriving, "forget_pages", lambda array: forgotten.append(array.size))
    load_published(tmp_path / "a.safetensors", get_backend("numpy"), "bfloat16")
    assert forgotten == [array.size for array in own.values()]
