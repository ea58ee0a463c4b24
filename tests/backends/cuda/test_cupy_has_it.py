"""Every name that the CUDA backend uses is in the real CuPy, which NumPy in its place would not tell."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from opensora_core.testing.conformance import require

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "backends/opensora_backends").glob("cuda_*.py"))
METHODS = {"astype", "copy", "fill", "get", "reshape", "scatter_add", "view", "data", "device", "dtype", "itemsize"}


def chains(path):
    """Dotted names that begin with `xp` or `self.xp`, such as cuda.runtime.getDevice."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        root = node.id if isinstance(node, ast.Name) else None
        names.reverse()
        if root == "xp" and names:
            yield ".".join(names)
        elif "xp" in names[:2]:
            yield ".".join(names[names.index("xp") + 1 :])


USED = sorted({name for path in FILES for name in chains(path)} - {""})


def test_the_names_are_found():
    assert {"cuda.runtime.getDevice", "matmul", "concatenate", "cuda.MemoryPool", "from_dlpack"} <= set(USED)


@pytest.mark.parametrize("name", USED)
def test_cupy_has(name):
    require("cupy")
    found = importlib.import_module("cupy")
    for part in name.split("."):
        found = getattr(found, part)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_cupy_arrays_have(name):
    require("cupy")
    assert hasattr(importlib.import_module("cupy").ndarray, name)


def test_the_call_of_cublas_is_the_one_that_cupy_declares():
    """cuBLAS itself is not installed here, so the declaration is read from the module's file."""
    require("cupy")
    folder = Path(importlib.util.find_spec("cupy_backends").origin).parent / "cuda/libs"
    (library,) = folder.glob("cublas.*.so")
    declared = re.search(rb"gemmStridedBatchedEx\(([^)]*)\)", library.read_bytes())
    names = [part.split()[-1] for part in declared[1].decode().split(",")]
    from opensora_kernels.cupy_on_cpu import Cublas

    ours = list(Cublas.gemmStridedBatchedEx.__code__.co_varnames[1 : Cublas.gemmStridedBatchedEx.__code__.co_argcount])
    assert ours == names
    source = (ROOT / "backends/opensora_backends/cuda_gemm.py").read_text()
    for name in set(re.findall(r"cublas\.(\w+)", source)):
        assert name.encode() in library.read_bytes(), name


def test_cupy_computes_in_bfloat16_what_is_asked_of_it_in_bfloat16():
    require("cupy")
    cupy = importlib.import_module("cupy")
    unary = ("negative", "exp", "log", "sqrt", "sin", "cos", "tanh")
    for name in unary:
        assert "E->E" in getattr(cupy, name).types, name
    for name in ("add", "subtract", "multiply", "divide", "power", "maximum"):
        assert "EE->E" in getattr(cupy, name).types, name
    for name in ("equal", "less"):
        assert "EE->?" in getattr(cupy, name).types, name
