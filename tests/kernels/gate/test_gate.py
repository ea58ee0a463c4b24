"""NVIDIA's compiler on our kernels, without a GPU; on all of them: `python -m opensora_kernels.gate`."""

import re

import pytest

from opensora_core.testing.conformance.pytest_api import must_run
from opensora_kernels.cuda.launching import SOURCES
from opensora_kernels.gate import nvrtc
from opensora_kernels.gate.__main__ import main
from opensora_kernels.gate.budget import Allowed, Budget
from opensora_kernels.gate.instantiations import instantiations
from opensora_kernels.gate.report import ARCHS, Report, compile_kernels, report

BOUNDED = (
    "flash_attention<__nv_bfloat16, 72, 4>",
    "temporal_attention<__nv_bfloat16, 72, 16, 4>",
    "modulate<__half, 4>",
    "modulate<__nv_bfloat16, 9>",
    "qk_norm_rope<__nv_bfloat16, 3>",
    "softmax<float>",
)
GOOD = Report("a.cu", "flash_attention<float>", "80", registers=64, stack=0, spilled=0, mma=8)
SPILLING = """
extern "C" __global__ void __launch_bounds__(1024, 2) crowded(const float* x, float* y) {
  float held[64];
#pragma unroll
  for (int i = 0; i < 64; i++) held[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 64; i++) y[i * 1024 + threadIdx.x] = held[63 - i] * held[i / 2];
}
"""
INDEXED = """
extern "C" __global__ void indexed(const float* x, float* y, int n) {
  float held[8];
  for (int i = 0; i < n; i++) held[x[i] > 0.f ? i & 7 : 0] = x[i];
  y[threadIdx.x] = held[threadIdx.x & 7];
}
"""


@pytest.fixture(scope="module", autouse=True)
def compiler():
    try:
        nvrtc.load()
    except nvrtc.CompilerMissingError as error:
        if "nvidia" in must_run():
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def asked():
    return {one.name: one for one in instantiations()}


def test_a_kernel_of_every_family_keeps_its_budget(asked):
    family = {name.partition("<")[0]: name for name in asked if "float" not in name.partition("<")[2]}
    rest = {kind: name for kind, name in family.items() if not any(b.startswith(f"{kind}<") for b in BOUNDED)}
    reports = list(compile_kernels([asked[name] for name in rest.values()], "90a"))
    assert len(reports) == len(rest)
    assert Budget.load().judge(reports) == []


@pytest.mark.parametrize("arch", ARCHS)
def test_kernels_keep_their_budget(asked, arch):
    reports = list(compile_kernels([asked[name] for name in BOUNDED], arch))
    assert sorted(r.name for r in reports) == sorted(BOUNDED)
    assert Budget.load().judge(reports) == []


def test_every_kernel_that_is_asked_for_has_a_budget_and_no_other(asked):
    budget = Budget.load()
    assert budget.registers.keys() == asked.keys()
    assert {tuple(sorted(by_arch)) for by_arch in budget.registers.values()} == {tuple(sorted(ARCHS))}
    assert all(one.reason and one.name in asked and one.arch in ARCHS for one in budget.exceptions)


def test_every_kernel_of_the_sources_is_asked_for(asked):
    written = set()
    for path in SOURCES.glob("*.cu"):
        text = re.sub(r"__launch_bounds__\([^;{]*?\)\s+(?=\w+\()", "", path.read_text())
        written |= set(re.findall(r"__global__\s+void\s+(\w+)\(", text))
    assert written == {name.partition("<")[0] for name in asked}


def test_a_spill_is_a_fault():
    (found,) = report("crowded.cu", SPILLING, ["crowded"], "90a")
    assert found.spilled > 0
    assert any("spills registers" in fault for fault in Budget().faults(found))


def test_local_memory_is_a_fault():
    (found,) = report("indexed.cu", INDEXED, ["indexed"], "80")
    assert (found.stack, found.spilled) == (32, 0)
    assert any("32 bytes of local memory" in fault for fault in Budget().faults(found))


def test_what_does_not_compile_is_the_compilers_error():
    with pytest.raises(nvrtc.CompileError, match=r"broken\.cu does not compile with -arch=sm_80(.|\n)*nowhere"):
        list(report("broken.cu", 'extern "C" __global__ void broken() { nowhere(); }', ["broken"], "80"))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"registers": 65}, "uses 65 registers, 64 recorded"),
        ({"name": "other"}, "has no recorded number of registers"),
        ({"arch": "90a"}, "has no recorded number of registers"),
        ({"mma": 0}, "has no tensor-core instruction"),
        ({"stack": 9, "spilled": 16}, "uses 9 bytes of local memory a thread, 8 allowed"),
        ({"stack": 8, "spilled": 17}, "spills registers: 17 bytes stored and read, 16 allowed"),
    ],
)
def test_faults_of_a_report(change, fault):
    budget = Budget(exceptions=[Allowed(GOOD.name, "80", stack=8, spilled=16, reason="known")])
    budget.record(GOOD)
    assert budget.judge([GOOD]) == []
    (found,) = budget.judge([Report(**{**vars(GOOD), **change})])
    assert fault in found


def test_a_budget_reads_what_it_wrote(tmp_path):
    budget = Budget(exceptions=[Allowed(GOOD.name, "80", 8, 16, "known")])
    budget.record(GOOD)
    budget.save(tmp_path / "budget.json")
    assert Budget.load(tmp_path / "budget.json") == budget


def test_the_command_prints_rows_and_fails_on_faults(capsys, monkeypatch):
    command = ["--language", "cuda", "--arch", "80", "--only", "softmax<float>"]
    assert main(command) == 0
    assert "softmax.cu softmax<float>" in capsys.readouterr().out
    monkeypatch.setattr(Budget, "load", lambda path: Budget())
    assert main(command) == 1
    assert "softmax<float> on sm_80 has no recorded number of registers" in capsys.readouterr().err
