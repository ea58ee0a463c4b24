"""Versions of our kernels are providers by name, all of them right, and they say what they do not take."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_backends import attention_versions, cuda_versions
from opensora_benchmarks import parts, providers
from opensora_benchmarks.case import Data
from opensora_benchmarks.draws import Draws
from opensora_benchmarks.gate import Subject, gate
from opensora_benchmarks.library import Library
from opensora_benchmarks.providers import UnsupportedError, open_provider
from opensora_benchmarks.suite_op import op_case, rope, text_mask
from opensora_core.errors import MissingDependencyError
from opensora_core.testing.conformance import require
from opensora_kernels.cupy_on_cpu.state import STATE
from tests.backends.cuda.fake import FakeCudaOps

DATA = Data((1, 2, 29, 8))
CPU = ("numpy:composition", *attention_versions.VERSIONS)
PAST = {"spatial": (2, 9, 3), "temporal": (9, 2, 3)}  # T, S, H


def of_attention(mask=None):
    return op_case("attention", "tiny", (DATA,) * 3 + (mask,), parts.queries, True, {})


def of_video(pattern, D=8):
    T, S, H = PAST[pattern]
    norm = Data((D,), 0.1, 1.0)
    arguments = (Data((1, T, S, 3, H, D)), pattern, norm, norm, *rope(9, D))
    return op_case("attention_3d", "tiny", arguments, parts.heads, True, {})


CASES = {
    "plain bfloat16": (of_attention(), "bfloat16"),
    "masked": (of_attention(text_mask(29)), "float32"),
    "spatial": (of_video("spatial"), "float32"),
    "temporal bfloat16": (of_video("temporal"), "bfloat16"),
}


def passes(provider, case, dtype):
    subject = Subject(Draws(case, dtype, np.random.default_rng(0)), provider.library, provider.function(case))
    gate(subject)
    return 0 < subject.ratio <= 1


@pytest.mark.parametrize("which", CASES)
@pytest.mark.parametrize("name", CPU)
def test_a_version_of_attention_passes_the_gate(name, which):
    require(name.partition(":")[0])
    case, dtype = CASES[which]
    provider = open_provider(name, None, dtype, "numpy")
    if name == "numba:along-time" and "temporal" not in which:
        with pytest.raises(UnsupportedError, match=r"it has no attention|the pattern temporal, and here is spatial"):
            provider.function(case)
    else:
        assert passes(provider, case, dtype)


def test_few_keys_says_which_keys_it_takes():
    require("numba")
    many = op_case("attention", "many", (DATA, *(Data((1, 2, 65, 8)),) * 2), parts.queries, True, {})
    with pytest.raises(UnsupportedError, match="at most 64 keys, masked alike for all queries, and here are 29 to 65"):
        open_provider("numba:few-keys", None, "float32", "numpy").function(many)


@pytest.fixture
def on_stand_in(monkeypatch):
    """CuPy's place is taken by NumPy, and kernels are run by the emulation."""
    ops = FakeCudaOps()
    monkeypatch.setattr(providers, "library", lambda name, device: Library(ops, None))
    monkeypatch.setattr(providers, "find_spec", lambda package: package)
    STATE.launches.clear()
    return STATE.launches


@pytest.mark.parametrize(
    ("name", "which", "kernel"),
    [
        ("cuda:tensor-cores", "plain bfloat16", "flash_attention<__nv_bfloat16"),
        ("cuda:plain", "plain bfloat16", "flash_attention_plain<__nv_bfloat16"),
        ("cuda:plain", "masked", "flash_attention_plain<float"),
        ("cuda:plain", "spatial", "flash_attention_plain<float"),
        ("cuda:tensor-cores", "temporal bfloat16", "temporal_attention<__nv_bfloat16"),
        ("cuda:plain", "temporal bfloat16", "temporal_attention_plain<__nv_bfloat16"),
    ],
)
def test_a_version_on_a_gpu_launches_its_own_kernel_and_passes_the_gate(on_stand_in, name, which, kernel):
    case, dtype = CASES[which]
    assert passes(open_provider(name, "cuda:0", dtype, "numpy"), case, dtype)
    assert on_stand_in
    assert all(launched.startswith(kernel) for launched in on_stand_in)


@pytest.mark.parametrize(
    ("name", "which", "reason"),
    [
        ("cuda:tensor-cores", "masked", "flash_attention: dtype float32 is not one of float16, bfloat16"),
        ("cuda:numba", "masked", "numba flash_attention: it takes no mask"),
        ("cuda:numba", "spatial", "numba temporal_attention: pattern spatial is not one of temporal"),
    ],
)
def test_a_version_on_a_gpu_says_what_it_does_not_take(on_stand_in, name, which, reason):
    if name == "cuda:numba":
        require("numba_cuda")
    case, dtype = CASES[which]
    with pytest.raises(UnsupportedError, match=reason):
        open_provider(name, "cuda:0", dtype, "numpy").function(case)


@pytest.mark.parametrize("name", cuda_versions.VERSIONS)
def test_without_a_gpu_the_option_is_named(monkeypatch, name):
    monkeypatch.setattr(providers, "find_spec", lambda package: package)
    with pytest.raises(MissingDependencyError, match=f"'{name}': it needs a GPU: --device cuda:0"):
        open_provider(name, None, "float32", "numpy")
