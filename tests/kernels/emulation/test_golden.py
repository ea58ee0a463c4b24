"""The emulation gives what a GPU gave for every PTX wrapper, once one has been asked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from opensora_backends.cuda_kernels import OPTIONS
from opensora_kernels.cupy_on_cpu import RawModule, StandIn

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "benchmarks/results/golden_ptx.npz"


@pytest.fixture
def golden(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks/gpu_check"))
    import golden

    yield golden
    for name in ("golden", "device"):
        sys.modules.pop(name)


def test_every_wrapper_gives_what_a_gpu_gave(golden):
    if not GOLDEN.exists():
        pytest.skip(f"no GPU was at hand yet: benchmarks/gpu_check writes {GOLDEN.name} there")
    assert golden.differences(golden.outputs(StandIn(), RawModule, OPTIONS), dict(np.load(GOLDEN))) == []


def test_the_products_of_random_registers_are_those_of_the_matrices(golden):
    """As the PTX manual lays the fragments out; the rest of the wrappers has tests of its own."""
    given, out = golden.inputs(), golden.outputs(StandIn(), RawModule, OPTIONS)
    lanes = np.arange(32)
    group, pair = lanes // 4, lanes % 4 * 2
    for name, kind in golden.TYPES.items():
        a, b = (given[f"mma_{x}_{name}"].view(kind).astype(np.float64) for x in "ab")
        for out_of, columns in ((0, 16), (1, 8)):
            left, right = np.zeros((16, columns)), np.zeros((columns, 8))
            for register in range(columns // 4):
                for half in range(2):
                    rows, at = group + register % 2 * 8, pair + register // 2 * 8 + half
                    left[rows, at] = a[:, register * 2 + half]
            for register in range(columns // 8):
                for half in range(2):
                    right[pair + register * 8 + half, group] = b[:, register * 2 + half]
            product = left @ right
            for i in range(4):
                want = product[group + i // 2 * 8, pair + i % 2] + given["mma_c"][:, i]
                np.testing.assert_allclose(out[f"mma_{name}"][out_of, :, i], want, rtol=0, atol=1e-5)
