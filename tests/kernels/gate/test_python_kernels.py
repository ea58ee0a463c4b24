"""Numba and NVIDIA's compilers on the kernels in Python, without a GPU: `python -m opensora_kernels.gate` on all."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from opensora_core.testing.conformance import require
from opensora_core.testing.conformance.pytest_api import must_run
from opensora_kernels.gate.budget import PYTHON_FILE, Budget
from opensora_kernels.gate.report import Report

SCRIPT = Path(__file__).with_name("compile_python.py")
KERNELS = PYTHON_FILE.parents[1] / "numba_cuda"
SHORT = ["flash D=128 float16", "float16 strided"]
COMPILED = {"80": ["float32"], "90": ["float16"], "100": SHORT, "120": SHORT}  # all of them: the command


@pytest.fixture(scope="module")
def said():
    for package in ("numba_cuda", "nvidia"):
        require(package)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(SCRIPT), json.dumps(COMPILED)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if "CompilerMissingError" in run.stderr and "nvidia" not in must_run():
        pytest.skip(run.stderr.splitlines()[-1])
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def reports(said):
    return [Report(**{**one, "remarks": tuple(one["remarks"])}) for one in said["reports"]]


def test_kernels_compile_to_machine_code_within_their_budget(said):
    found = reports(said)
    assert [sum(r.arch == arch for r in found) for arch in COMPILED] == [11, 11, 2, 2]
    assert Budget.load(PYTHON_FILE).judge(found) == []


def test_every_kernel_that_is_asked_for_has_a_budget_and_no_other(said):
    budget = Budget.load(PYTHON_FILE)
    assert [*budget.registers] == said["names"]
    assert all(by_arch.keys() == COMPILED.keys() for by_arch in budget.registers.values())
    assert all(one.reason and one.name in said["names"] and one.arch in COMPILED for one in budget.exceptions)


def test_every_kernel_that_is_written_is_asked_for(said):
    trees = [ast.parse(path.read_text()) for path in KERNELS.glob("*_kernel.py")]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    written = {f.name for f in functions if "cuda.jit" in map(ast.unparse, f.decorator_list)}
    assert written == {name.partition(" ")[0] for name in said["names"]}


def test_head_dims_are_compiled_each_by_itself(said):
    assert {f"flash D={D} {dtype}" for D in (32, 72, 128) for dtype in ("float16", "float32")} <= {*said["names"]}


def test_seeded_faults_are_found(said):
    assert any("computes in float64" in remark for remark in said["doubled"]["remarks"])
    assert said["indexed"]["stack"] == 32
    assert said["empty"] == ["is not for sm_90", r"calls warp_sum, but has no shfl\.sync"]
