"""With OPENSORA_CUDA_KERNELS=numba the backend's ops are served by the kernels in Python, on numba-cuda's simulator."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

from opensora_backends import cuda_kernels
from opensora_backends.cuda_doctor import diagnose
from opensora_backends.cuda_versions import open_version
from opensora_core.errors import InvalidInputError, MissingDependencyError
from opensora_kernels import choice
from opensora_kernels.choice import TORCH, Request, choose
from opensora_kernels.numba_cuda import simulator
from opensora_kernels.numba_cuda.attention import NumbaAttention
from tests.backends.cuda.fake import NUMPY, FakeCudaOps, close, fake_libraries, random
from tests.backends.cuda.test_attention import BAD_PREPARATION

EXTRA = "pip install 'opensora-core[cuda-numba]'"
assert simulator.ORDERS  # imported first, so that kernels are simulated
DTYPES = ["float32", "float16"]


@pytest.fixture
def ops(monkeypatch):
    monkeypatch.setenv(cuda_kernels.VARIABLE, "numba")
    return FakeCudaOps()


def rope(ops, length, D):
    angles = np.arange(length)[:, None] * np.ones(D // 2)
    exact = (np.cos(angles), np.sin(angles))
    return [ops.asarray(t.astype(np.float32)) for t in exact], exact


@pytest.mark.parametrize("dtype", DTYPES)
def test_video_tokens_along_time(ops, launches, dtype):
    qkv, qkv64 = random(ops, dtype, 1, 3, 2, 3, 2, 6)
    weights, exact = zip(*(random(ops, dtype, 6, seed=s) for s in (1, 2)), strict=True)
    tables, tables64 = rope(ops, 3, 6)
    got = ops.attention_3d(qkv, "temporal", *weights, *tables)
    close(ops, got, NUMPY.attention_3d(qkv64, "temporal", *exact, *tables64), dtype)
    assert launches == []


@pytest.mark.parametrize(("given", "says"), BAD_PREPARATION)
def test_weights_and_tables_that_do_not_fit_are_named(ops, given, says):
    arrays = {name: ops.full(shape, 1.0) for name, shape in given.items()}
    with pytest.raises(InvalidInputError, match=f"attention_3d: .*{says}"):
        ops.attention_3d(ops.full((1, 3, 3, 3, 2, 6), 1.0), "temporal", **arrays)


@pytest.mark.parametrize("dtype", DTYPES)
def test_attention(ops, launches, dtype):
    packed, packed64 = random(ops, dtype, 2, 5, 3, 1, 6)  # [B, L, 3, H, D], as a layer gives it
    q, k, v = (ops.permute_dims(packed[:, :, i], (0, 2, 1, 3)) for i in range(3))
    want = NUMPY.attention(*(packed64[:, :, i].transpose(0, 2, 1, 3) for i in range(3)), scale=0.5)
    close(ops, ops.attention(q, k, v, scale=0.5), want, dtype)
    assert launches == []


def test_as_a_version_by_name(ops, launches):
    version = open_version("cuda:numba", ops)
    q, q64 = random(ops, "float32", 1, 2, 5, 6)
    assert version.refusals["attention"](q, q, q) is None
    close(ops, version.functions["attention"](q, q, q), NUMPY.attention(q64, q64, q64), "float32")
    assert launches == []


def test_attention_of_very_many_rows_has_a_grid_that_gpus_take():
    grids = []
    kernels = NumbaAttention(np, None, launch=lambda xp, kernel, grid, *rest: grids.append(grid))
    q = np.zeros((70000, 1, 1, 2), np.float32)  # a 720p video's places, with guidance
    kernels.attention(q, q, q)
    assert grids == [(70000, 1)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_and_convolution(ops, launches, dtype):
    x, x64 = random(ops, dtype, 2, 3, 10)
    (a, a64), (b, b64) = (random(ops, dtype, 2, 1, 10, seed=s) for s in (1, 2))
    close(ops, ops.layer_norm(x, a[0, 0], b[0, 0]), NUMPY.layer_norm(x64, a64[0, 0], b64[0, 0]), dtype)
    close(ops, ops.rms_norm(x, a[0, 0]), NUMPY.rms_norm(x64, a64[0, 0]), dtype)
    close(ops, ops.modulate(x, a, b), NUMPY.modulate(x64, a64, b64), dtype)
    close(ops, ops.gated_residual(x, x, a), NUMPY.gated_residual(x64, x64, a64), dtype)
    close(ops, ops.group_norm(x, 3), NUMPY.group_norm(x64, 3), dtype)
    tables, tables64 = rope(ops, 3, 10)
    close(ops, ops.rotary(x, *tables), NUMPY.rotary(x64, *tables64), dtype)
    got, want = ops.rms_norm_rotary(x, a[0, 0], *tables), NUMPY.rms_norm_rotary(x64, a64[0, 0], *tables64)
    close(ops, got, want, dtype)
    weight, weight64 = random(ops, dtype, 2, 3, 3)
    close(ops, ops.conv(x, weight * 0.25, padding=(1,)), NUMPY.conv(x64, weight64 * 0.25, padding=(1,)), dtype)
    assert launches == []


def test_bfloat16_and_what_else_they_do_not_take_go_to_cuda_c(ops, launches):
    half, half64 = random(ops, "bfloat16", 1, 3, 2, 3, 1, 6)
    close(ops, ops.attention_3d(half, "temporal"), NUMPY.attention_3d(half64, "temporal"), "bfloat16")
    qkv, qkv64 = random(ops, "float32", 1, 2, 3, 3, 1, 6)
    close(ops, ops.attention_3d(qkv, "spatial"), NUMPY.attention_3d(qkv64, "spatial"), "float32")
    q, q64 = qkv[:, 0, :, 0], qkv64[:, 0, :, 0]
    mask = np.tri(1, 1, dtype=bool)
    close(ops, ops.attention(q, q, q, ops.asarray(mask)), NUMPY.attention(q64, q64, q64, mask), "float32")
    close(ops, ops.rms_norm(half, half[0, 0, 0, 0, 0]), NUMPY.rms_norm(half64, half64[0, 0, 0, 0, 0]), "bfloat16")
    wanted = ["temporal_attention_plain", "flash_attention_plain", "flash_attention_plain", "modulate_any"]
    assert [name.partition("<")[0] for name in launches] == wanted


@pytest.mark.parametrize(
    ("asked", "kernel", "reason"),
    [
        ({"dtype": "float16"}, "numba temporal_attention", ""),
        ({"dtype": "bfloat16"}, "temporal_attention", "numba temporal_attention: dtype bfloat16 is not one of"),
        ({"length": 32, "head_dim": 128}, "temporal_attention_plain", "length 32 times head dim 128 is above 4085"),
        ({"pattern": "spatial"}, "flash_attention_plain", "pattern spatial is not one of temporal"),
        ({"op": "attention", "masked": True}, "flash_attention_plain", "numba flash_attention: it takes no mask"),
        ({"op": "attention", "length": 24300}, "numba flash_attention", ""),
        ({"op": "modulate"}, "numba normalise", ""),
    ],
)
def test_the_choice_says_by_name_which_language_serves(asked, kernel, reason):
    layout = {"op": "attention_3d", "dtype": "float32", "pattern": "temporal", "head_dim": 72, "length": 15, **asked}
    found = choose(Request(**layout, arch=90, torch=True, numba=True))
    assert found.kernel == kernel
    assert reason in found.reason


def test_the_matrix_is_that_of_the_chosen_mode(monkeypatch):
    assert list(cuda_kernels.matrix()) == list(choice.matrix())
    monkeypatch.setenv(cuda_kernels.VARIABLE, "numba")
    served = {(row["op"], row["serves"]) for row in cuda_kernels.matrix()}
    assert {(kernel.op, kernel.name) for kernel in choice.NUMBA} <= served
    assert TORCH not in {name for _, name in served}


def test_without_numba_cuda_the_mode_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv(cuda_kernels.VARIABLE, "numba")
    with pytest.raises(MissingDependencyError, match=f"=numba needs numba-cuda: {re.escape(EXTRA)}"):
        FakeCudaOps()
    assert doctors_row() == ("warn", "numba-cuda is not installed; only OPENSORA_CUDA_KERNELS=numba wants it", EXTRA)
    monkeypatch.delenv(cuda_kernels.VARIABLE)
    assert doctors_row()[0] == "ok"


def test_the_doctor_misses_a_library_of_the_compiler(monkeypatch):
    status, text, _ = doctors_row()
    assert (status, "NVVM and nvJitLink" in text) == ("ok", True)

    def missing(name):
        raise RuntimeError(f"Failure finding {name}")

    monkeypatch.setattr("cuda.pathfinder.load_nvidia_dynamic_lib", missing)
    monkeypatch.setenv(cuda_kernels.VARIABLE, "numba")
    assert doctors_row() == ("warn", "numba-cuda does not find nvvm; only OPENSORA_CUDA_KERNELS=numba wants it", EXTRA)


def doctors_row():
    (row,) = [row[1:] for row in diagnose(fake_libraries) if row[0] == "cuda kernels in Python"]
    return row
