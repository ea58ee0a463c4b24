"""A backend of a module in the current folder is found by every verb that takes one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Run

ONE_STEP = ("--steps", "1", "--num-frames", "1", "-m", "NANO")


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "a red circle", *ONE_STEP, "--backend", "MINE", "-o", "out.png"),
        ("verify", "golden", "--backend", "MINE", "--dtype", "float64"),
        ("conformance", "MINE", "--only", "ops/exp", "--dtypes", "float32", "--examples", "2"),
        ("parity", "numpy", "MINE", *ONE_STEP, "--tolerance", "9"),
        ("warmup", "--backend", "MINE"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_it_is_found(opensora: Run, mine: str, nano: str, arguments: tuple[str, ...]) -> None:
    Path("golden").mkdir()
    for ending in ("json", "safetensors"):
        shutil.copy(ROOT / "tests" / "golden" / f"rflow_timesteps.{ending}", "golden")
    result = opensora(*({"MINE": mine, "NANO": nano}.get(argument, argument) for argument in arguments))
    assert result.exit_code == 0, result.output
    assert mine.partition(":")[0] in sys.modules


def test_the_folder_comes_after_what_is_installed_and_only_for_modules(opensora: Run, mine: str) -> None:
    opensora("warmup", "--backend", "numpy")
    assert str(Path.cwd()) not in sys.path
    opensora("warmup", "--backend", mine)
    assert sys.path[-1] == str(Path.cwd())
