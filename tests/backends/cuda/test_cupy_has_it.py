"""Every name that the CUDA backend uses is in the real CuPy, which NumPy in its place would not tell."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from opensora_core.testing.conformance import require

ROOT = Path(__file__).resolve().parents[3]
FILES = [
    *sorted((ROOT / "backends/opensora_backends").glob("cuda_*.py")),
    *sorted((ROOT / "kernels/opensora_kernels/cuda").glob("*.py")),
    *sorted((ROOT / "kernels/opensora_kernels/numba_cuda").glob("*.py")),
]
METHODS = {"astype", "copy", "get", "reshape", "view", "data", "device", "dtype", "itemsize"}


def chain(node):
    """What follows `xp.`, `self.xp.` or `lib.xp.` in an expression, such as "cuda.runtime.getDevice", or None."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    names.append(node.id if isinstance(node, ast.Name) else "")
    names.reverse()
    after = names[names.index("xp") + 1 :] if "xp" in names[:3] else []
    return ".".join(after) or None


def chains(path):
    """All such names of a file."""
    return filter(None, map(chain, ast.walk(ast.parse(path.read_text()))))


def calls():
    """(place, name, number of positional arguments, names of the others) of every call with plain arguments."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            name = chain(node.func) if isinstance(node, ast.Call) else None
            if name is None or any(isinstance(a, ast.Starred) for a in node.args):
                continue
            if all(k.arg for k in node.keywords):
                yield f"{path.name}:{node.lineno}", name, len(node.args), tuple(k.arg for k in node.keywords)


USED = sorted({name for path in FILES for name in chains(path)} - {""})


def test_the_names_are_found():
    assert {"cuda.runtime.getDevice", "matmul", "concatenate", "cuda.MemoryPool", "from_dlpack"} <= set(USED)


def imported():
    """Names of the modules that are imported by string, which no import statement would show."""
    tree = ast.parse((ROOT / "backends/opensora_backends/cuda_libraries.py").read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_import")
    return [ast.literal_eval(call.args[0]) for call in calls]


def test_cupy_has_the_modules_that_are_imported():
    """Found, not loaded: their libraries need not be installed here."""
    require("cupy")
    names = imported()
    assert {"cupy", "cupy_backends.cuda.libs.nvrtc"} <= set(names)
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    assert not missing


@pytest.mark.parametrize("name", USED)
def test_cupy_has(name):
    require("cupy")
    found = importlib.import_module("cupy")
    for part in name.split("."):
        found = getattr(found, part)


def test_cupy_takes_the_arguments_that_it_is_given():
    require("cupy")
    checked = 0
    for place, name, count, keywords in calls():
        found = functools.reduce(getattr, name.split("."), importlib.import_module("cupy"))
        try:
            signature = inspect.signature(found)
        except (TypeError, ValueError):  # compiled, and says nothing of its arguments
            continue
        try:
            signature.bind(*range(count), **dict.fromkeys(keywords))
        except TypeError as error:
            pytest.fail(f"{place}: cupy.{name}{signature} is called with {count} arguments and {keywords}: {error}")
        checked += 1
    assert checked > 25


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
