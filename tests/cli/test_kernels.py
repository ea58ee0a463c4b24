"""backends --kernels and warmup: what serves what, and everything compiled ahead."""

from __future__ import annotations

import pytest

from opensora_backends import cuda_ops
from opensora_core import registry
from opensora_kernels import choice
from opensora_kernels.cupy_on_cpu import STATE
from tests.cli.conftest import document


def test_the_command_line_shows_the_matrix_without_a_gpu(opensora):
    rows = document(opensora("backends", "--kernels", "--json"))["kernels"]["cuda"]
    assert rows == list(choice.matrix())
    assert {"op", "dtype", "layout", "arch", "serves", "reason"} == set(rows[0])
    text = opensora("backends", "--kernels").stdout
    assert "temporal D=72 L=15" in text
    assert "head dim 300 is outside 1..256" in text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_warmup_runs_a_small_model_and_what_the_backend_brings(opensora, monkeypatch, dtype):
    monkeypatch.setitem(
        registry.BUILTIN, "cuda", registry.Backend("tests.backends.cuda.fake:FakeCudaOps", device="cuda:0")
    )
    monkeypatch.setattr(cuda_ops, "WARM_HEAD_DIMS", (72,))
    STATE.launches.clear()
    told = document(opensora("warmup", "--backend", "cuda", "--dtype", dtype, "--json"))
    assert (told["backend"], told["device"], told["dtype"]) == ("cuda", "cuda:0", dtype)
    assert set(told["seconds"]) == {"kernels", "a small model"}
    sources = ("temporal_attention", "flash_attention")
    assert all(any(name.startswith(source) for name in STATE.launches) for source in sources)
    assert sum("modulate<" in name and ", 9>" in name for name in STATE.launches) == 1  # of 1152 channels
    assert "is warm for float32" in opensora("warmup", "--backend", "numpy").stdout


def test_warmup_of_a_backend_that_is_not_here_is_a_missing_dependency(opensora, monkeypatch):
    monkeypatch.setitem(registry.BUILTIN, "absent", registry.Backend("nowhere:Ops", "package_that_is_absent", "turbo"))
    result = opensora("warmup", "--backend", "absent")
    assert result.exit_code == 3
    assert "pip install 'opensora-core[turbo]'" in result.stderr
