"""Which kernel serves is decided by what each declares, and a refusal names what was asked and what would be taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensora_backends import cuda_kernels
from opensora_backends.cuda_libraries import load_cupy
from opensora_core.errors import InvalidInputError
from opensora_kernels import choice
from opensora_kernels.choice import COMPOSITION, KERNELS, TORCH, Request, choose
from tests.backends.cuda.fake import fake_libraries


def asked(op="attention_3d", dtype="bfloat16", arch=90, **more):
    if op == "attention_3d":
        more = {"pattern": "temporal", "length": 15, **more}
    return choose(Request(op, dtype, arch, **{"head_dim": 72, **more}))


@pytest.mark.parametrize(
    ("request_", "kernel"),
    [
        ({}, "temporal_attention"),
        ({"dtype": "float32"}, "temporal_attention_plain"),
        ({"head_dim": 30}, "temporal_attention_plain"),
        ({"length": 33}, "flash_attention"),
        ({"pattern": "spatial", "length": 1620}, "flash_attention"),
        ({"pattern": "full", "dtype": "float32"}, "flash_attention_plain"),
        ({"op": "attention", "length": 300, "masked": True}, "flash_attention"),
        ({"op": "attention", "head_dim": 1}, "flash_attention_plain"),
        ({"op": "attention", "head_dim": 256}, "flash_attention"),
    ],
)
def test_the_first_kernel_that_can_serves(request_, kernel):
    assert asked(**request_).kernel == kernel


@pytest.mark.parametrize(
    ("request_", "reasons"),
    [
        ({"dtype": "float64"}, ["temporal_attention: dtype float64 is not one of float16, bfloat16"]),
        (
            {"head_dim": 300},
            ["temporal_attention: head dim 300 is outside 1..256", "plain: head dim 300"],
        ),
        ({"op": "attention", "head_dim": 0}, ["flash_attention: head dim 0 is outside 1..256"]),
        ({"arch": 75}, ["flash_attention: compute capability 7.5 is older than 8.0"]),
        ({"across": 65536}, ["flash_attention: 65536 heads, channels or groups are above 65535"]),
        ({"op": "conv", "across": 64 * 65535 + 1}, ["conv3d: 4194241 heads, channels or groups are above 4194240"]),
        ({"op": "unheard_of"}, ["there is no kernel for unheard_of"]),
    ],
)
def test_where_none_can_the_composition_serves_and_every_reason_is_given(request_, reasons):
    found = asked(**request_)
    assert (found.kernel, found.serves) == (None, COMPOSITION)
    for reason in reasons:
        assert reason in found.reason


def test_why_a_better_kernel_is_passed_over_is_told():
    assert asked(head_dim=30).reason == "temporal_attention: head dim 30 is no multiple of 8"
    assert asked(length=64).reason.startswith("temporal_attention: length 64 is above 32; temporal_attention_plain: ")
    assert asked().reason == ""


def test_long_wide_attention_goes_to_torch_where_it_is():
    wide = {"op": "attention", "head_dim": 128, "length": 24300}
    assert asked(**wide, torch=True).serves == TORCH
    assert asked(**wide).kernel == "flash_attention"
    full = {"pattern": "full", "head_dim": 128, "length": 24300}
    assert asked(**full, torch=True).serves == TORCH
    assert asked(**full).kernel == "flash_attention"
    for change in ({"length": 300}, {"head_dim": 72}, {"dtype": "float32"}, {"masked": True}):
        assert asked(**{**wide, **change}, torch=True).serves != TORCH


def test_every_declared_kernel_has_its_source_and_is_chosen_somewhere():
    folder = Path(choice.__file__).parent / "cuda"
    rows = list(choice.matrix())
    for kernel in KERNELS:
        assert kernel.name in (folder / kernel.source).read_text(), kernel
        assert any((row["op"], row["serves"]) == (kernel.op, kernel.name) for row in rows), kernel


def rows_in(monkeypatch, mode, load=load_cupy):
    monkeypatch.setenv(cuda_kernels.VARIABLE, mode)
    return list(cuda_kernels.matrix(load))


def test_the_matrix_heeds_the_mode(monkeypatch):
    none = rows_in(monkeypatch, "none")
    assert {(row["serves"], row["reason"]) for row in none if row["op"] != "index_add"} == {
        (COMPOSITION, "OPENSORA_CUDA_KERNELS=none")
    }
    assert {row["serves"] for row in none if row["op"] == "index_add"} == {"index_add"}  # a primitive: nothing else
    strict = {row["serves"] for row in rows_in(monkeypatch, "strict")}
    assert COMPOSITION not in strict
    assert "an error, by OPENSORA_CUDA_KERNELS=strict" in strict
    with pytest.raises(InvalidInputError, match="OPENSORA_CUDA_KERNELS='foo' is not one of auto"):
        rows_in(monkeypatch, "foo")


def test_the_matrix_is_of_the_gpu_that_is_there(monkeypatch):
    monkeypatch.setattr(cuda_kernels, "torch_is_there", lambda: False)
    rows = rows_in(monkeypatch, "auto", lambda: fake_libraries(arch=75))
    assert {row["arch"] for row in rows} == {"7.5"}
    assert {row["serves"] for row in rows} == {COMPOSITION, "index_add"}
    without = rows_in(monkeypatch, "auto", lambda: fake_libraries(devices=0))
    assert {row["arch"] for row in without} == {"9.0"}
    assert TORCH in {row["serves"] for row in without}
