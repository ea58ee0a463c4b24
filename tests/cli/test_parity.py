"""parity: what is said about two backends, and the exit code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
from PIL import Image

from opensora_core.testing.conformance import require
from tests.cli.conftest import ROOT, document

SHORT = ("--steps", 2)


def test_backends_that_agree_pass_with_tables_and_a_summary(opensora, nano):
    require("torch")
    result = opensora("parity", "numpy", "torch", "-m", nano, *SHORT)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["block", "ops"]
    assert any(line.startswith("denoiser.spatial_blocks.0 ") for line in lines)
    assert any(line.startswith("attention_3d ") for line in lines)
    assert lines[-1].startswith("PASS: final latents ")
    assert "2 steps, torch on cpu beside numpy on cpu, float32" in lines[-1]


def test_a_wrong_backend_fails_by_name_place_and_primitive(opensora, nano):
    wrong = "tests.parity.wrong:WrongSqrt"
    result = opensora("parity", "numpy", wrong, "-m", nano, *SHORT, "--zoom", "--mode", "reference", "--json")
    assert result.exit_code == 1, result.stderr
    told = document(result)
    assert (told["ok"], told["mode"], told["candidate"]["name"]) == (False, "reference", wrong)
    first = told["first"]
    assert (first["op"], first["module"]) == ("attention_3d", "denoiser.temporal_blocks.0.attn")
    assert first["inside"]["inside"]["inside"]["op"] == "sqrt"
    shown = opensora("parity", "numpy", wrong, "-m", nano, *SHORT, "--zoom")
    assert shown.exit_code == 1
    assert "in denoiser.temporal_blocks.0.attn (opensora_core/nn/attention.py:" in shown.stdout
    assert "inside it, the first that errs: sqrt" in shown.stdout


def test_every_setting_reaches_the_generation(opensora, nano):
    require("torch")
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save("first.png")
    options = ("--image", "first.png", "--num-frames", 3, "--height", 24, "--guidance-scale", 1, "--seed", 5)
    words = ("--prompt", "a blue star", "--negative-prompt", "a red star", "--dtype", "bfloat16", "--tolerance", 0.5)
    told = document(opensora("parity", "torch", "numpy", "-m", nano, *SHORT, *options, *words, "--json"))
    assert told["settings"] == {
        "prompt": "a blue star", "num_frames": 3, "height": 24, "width": 16, "fps": 8.0, "num_inference_steps": 2,
        "guidance_scale": 1.0, "seed": 5,
    }  # fmt: skip
    assert (told["dtype"], told["limit"], told["reference"]) == ("bfloat16", 0.5, {"name": "torch", "device": "cpu"})
    assert len(told["latents"]) == 2


def test_the_drift_can_be_drawn(opensora, nano):
    require("torch")
    for backend in ("torch", "tests.parity.wrong:NotANumber"):
        opensora("parity", "numpy", backend, "-m", nano, *SHORT, "--png", "drift.png", "--quiet")
        with Image.open("drift.png") as picture:
            assert picture.size == (1440, 600)
            assert np.asarray(picture.convert("L")).std() > 5


def test_without_matplotlib_the_extra_is_named_before_anything_is_computed(opensora, nano, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else find(name, *a))
    result = opensora("parity", "numpy", "torch", "-m", nano, "--png", "drift.png")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "opensora-core[plot]" in result.stderr


def test_bad_input_is_refused(opensora, nano):
    require("torch")
    for arguments in (
        ("numpy", "nonsense"),
        ("numpy",),
        ("numpy", "torch", "--mode", "both"),
        ("numpy", "torch", "--dtype", "int8"),
        ("numpy", "torch", "--png", "drift.txt"),
        ("numpy", "torch", "--image", "nowhere.png"),
        ("numpy", "torch", "--prompt", " "),
        ("numpy", "tests.parity.wrong:NoHalf", "--dtype", "bfloat16"),
    ):
        result = opensora("parity", *arguments, "-m", nano)
        assert result.exit_code == 2, arguments
        assert "Traceback" not in result.stderr


def test_comparing_imports_no_matplotlib():
    code = "import sys, opensora_core.parity.picture, opensora_core.cli.parity; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=60)
    assert done.stdout.strip() == b"False"
