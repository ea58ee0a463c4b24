"""Arrows of the house: backends -> core, backends -> kernels; core and kernels know neither."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import opensora_core

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = {"torch", "cupy", "numba", "jax", "tensorflow", "triton", "cuda"}
OURS = {"opensora_core", "opensora_backends", "opensora_kernels", "opensora_benchmarks"}
FORBIDDEN = {
    "opensora_core": FRAMEWORKS | (OURS - {"opensora_core"}),
    "kernels/opensora_kernels": OURS - {"opensora_kernels"},
    "backends/opensora_backends": {"opensora_benchmarks"},
    "benchmarks/opensora_benchmarks": {"opensora_kernels"},
}
LAYERS = (  # of the core, from the bottom up; the language below them is the modules without a package
    {"autodiff", "interpose"},
    {"nn", "serialization", "synthetic"},
    {"dit", "media", "schedulers", "text", "vae"},
    {"training"},
    {"conditioning"},
    {"releases"},
    {"pipelines"},
    {"evaluation", "parity", "verify"},
    {"testing"},
    {"cli"},
)
CORE = ROOT / "opensora_core"
PACKAGES = sorted(p.parent.name for p in CORE.glob("*/__init__.py"))
FILES = [(folder, path) for folder in FORBIDDEN for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path):
    """Top-level packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize(("folder", "path"), FILES, ids=[str(p.relative_to(ROOT)) for _, p in FILES])
def test_a_file_imports_only_along_the_arrows(folder, path):
    assert set(imported(path)) & FORBIDDEN[folder] == set()


def core_packages(path):
    """Packages of the core that a file of the core imports from, the modules without a package left out."""
    here = ["opensora_core", *path.relative_to(CORE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                yield from (package for package in [*base, *name.split(".")][1:2] if package in PACKAGES)


def test_imports_are_resolved_from_any_depth():
    assert set(core_packages(CORE / "testing" / "conformance" / "blocks.py")) == {"dit", "nn", "testing", "text", "vae"}
    assert set(core_packages(CORE / "interpose" / "costs" / "traffic.py")) == {"interpose"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_of_the_core_imports_only_from_the_layers_below(package):
    layer = next(i for i, packages in enumerate(LAYERS) if package in packages)
    above = set().union(*LAYERS[layer:]) - (LAYERS[0] if layer == 0 else {package})
    for path in (CORE / package).rglob("*.py"):
        assert set(core_packages(path)) & above == set(), path


@pytest.mark.parametrize("path", [p for f, p in FILES if f == "opensora_core" and "testing" not in p.parts])
def test_only_the_testing_package_needs_hypothesis(path):
    assert not {"hypothesis", "pytest"} & set(imported(path))


def test_importing_the_core_loads_nothing_heavy():
    heavy = FRAMEWORKS | {"opensora_backends", "av", "PIL", "safetensors", "ml_dtypes", "typer", "rich", "hypothesis"}
    code = "import opensora_core, sys; opensora_core.__dir__(); print(*{m.partition('.')[0] for m in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(out.stdout.split())
    assert "opensora_core" in loaded
    assert loaded & heavy == set()


def test_the_language_itself_loads_nothing_heavy():
    heavy = FRAMEWORKS | {"opensora_backends", "av", "PIL", "safetensors", "typer", "rich", "hypothesis"}
    code = "import opensora_core, sys; opensora_core.Ops, opensora_core.get_backend; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    loaded = {m.partition(".")[0] for m in out.stdout.split()}
    assert "opensora_core" in loaded
    assert loaded & heavy == set()


def test_type_checkers_see_every_name_that_the_package_hands_out():
    tree = ast.parse((ROOT / "opensora_core" / "__init__.py").read_text())
    seen = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(opensora_core.__all__) - {"__version__"} == seen - {None}
    assert all(getattr(opensora_core, name).__name__ == name for name in seen - {None})
