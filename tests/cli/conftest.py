"""Two ways to run the program, in this process and as its own, and a recipe for the nano model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from opensora_core.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., Result]


@pytest.fixture(autouse=True, scope="session")
def _heeds_interrupts() -> Iterator[None]:
    """Processes started here heed Ctrl-C, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test in a folder of its own, without the caller's settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("BACKEND", "DEVICE", "DTYPE"):
        monkeypatch.delenv(f"OPENSORA_{name}", raising=False)


@pytest.fixture
def opensora() -> Run:
    """Run the program in this process."""

    def run(*arguments: object, **extra: Any) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="opensora", **extra)

    return run


RECIPE = """
[denoiser]
input_sq_size = 64
in_channels = 4
hidden_size = 16
depth = 1
num_heads = 2
pred_sigma = false
caption_channels = 128
model_max_length = 24
frame_time_fps = 8.0
pooled_caption = true
[[stages]]
name = "tiny"
steps = STEPS
[[stages.buckets]]
num_frames = 5
height = 16
width = 16
batch_size = 2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., str]:
    """Write the recipe of a denoiser that fits the nano model; returns its path."""

    def write(steps: int) -> str:
        path = tmp_path.parent / f"{tmp_path.name}-{steps}.toml"
        path.write_text(RECIPE.replace("STEPS", str(steps)))
        return str(path)

    return write


MINE = """
from opensora_backends.numpy_ops import NumpyOps

class Mine(NumpyOps):
    def silu(self, x):
        return super().silu(x) * x.dtype.type(2)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend, wrong in one op, in a module of the folder in which the command runs."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"mine_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MINE)
    return f"{name}:Mine"


def process_arguments(arguments: Sequence[object]) -> dict[str, Any]:
    """What subprocess needs to start the program on its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENSORA_", "NO_COLOR", "FORCE_COLOR"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "backends"), str(ROOT / "kernels")])
    command = [sys.executable, "-m", "opensora_core.cli", *(str(a) for a in arguments)]
    return {"args": command, "env": {**environment, "OMP_NUM_THREADS": "1"}}


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program as a process of its own."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = process_arguments(arguments)
        settings["env"].update(environment)
        return subprocess.run(**settings, capture_output=True, text=True, timeout=60, check=False)

    return run


def document(result: Any) -> Any:
    """The one JSON document on stdout."""
    return json.loads(result.stdout)
