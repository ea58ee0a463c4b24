"""Tests skip visibly where they import a framework in vain, at their top or inside, unless it must run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "hide.py": "import sys; sys.modules['torch'] = None",
    "test_top.py": "import torch.nn.functional\n\n\ndef test_it():\n    pass",
    "test_backend.py": "from opensora_backends.torch_ops import TorchOps\n\n\ndef test_it():\n    pass",
    "test_inside.py": """
import pytest
from opensora_core import get_backend

@pytest.fixture
def ops():
    return get_backend("torch")

def test_fixture(ops):
    pass

def test_import():
    import torch

def test_typo():
    import torhc

def test_sound():
    pass
""",
}


def run(folder, *options, **environment):
    paths = f"{folder}:{ROOT}:{ROOT / 'backends'}:{ROOT / 'kernels'}"
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-p", "hide", *options, "."]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    for name, text in {**FILES, "conftest.py": (ROOT / "tests" / "conftest.py").read_text()}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_missing_framework_skips_modules_tests_and_fixtures_and_nothing_else(folder):
    out = run(folder, OPENSORA_MUST_RUN="numpy").stdout
    assert "1 failed, 1 passed, 4 skipped" in out
    assert "torch is not installed" in out
    assert "FAILED test_inside.py::test_typo" in out
    assert "PASSED test_inside.py::test_sound" in out


def test_nothing_is_skipped_where_it_must_run(folder):
    out = run(folder, OPENSORA_MUST_RUN="numpy,torch")
    assert out.returncode == pytest.ExitCode.USAGE_ERROR
    assert "OPENSORA_MUST_RUN lists torch" in out.stderr
