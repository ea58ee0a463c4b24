"""info, backends, doctor, verify: what is said, and the exit code of a check that fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core import registry
from opensora_core.cli import checkup
from opensora_core.errors import InvalidInputError, with_remedy
from opensora_core.pipelines import storage
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.registry import Backend
from opensora_core.serialization.reader import read_safetensors
from opensora_core.serialization.writer import write_safetensors
from opensora_core.testing.conformance import require
from tests.cli.conftest import ROOT, document


def test_info_reads_the_headers_and_no_weights(opensora, nano, monkeypatch):
    model = OpenSora.from_pretrained(nano, backend="numpy")
    monkeypatch.setattr(OpenSora, "from_pretrained", lambda *a, **k: pytest.fail("weights were loaded"))
    told = document(opensora("info", nano, "--json"))
    assert told["parameters"] == model.num_parameters
    parts = {name: part["parameters"] for name, part in told["parts"].items()}
    assert parts == model.metadata["parameters"]
    assert told["parts"]["denoiser"]["dtype"] == "float32"
    assert told["config"] == json.loads(json.dumps(model.config.to_dict()))
    shown = opensora("info", nano).stdout
    assert f"{model.num_parameters:,} parameters" in shown
    assert "5 frames of 16x16 at 8 fps" in shown


def test_info_shows_the_precision_of_the_file_and_by_default_the_embedded_model(opensora, nano, monkeypatch):
    half = OpenSora.from_pretrained(nano, backend="numpy").save("half", dtype="bfloat16")
    monkeypatch.setattr(storage, "EMBEDDED", half)
    told = document(opensora("info", "--json"))
    assert told["embedded"] is True
    assert {part["dtype"] for part in told["parts"].values()} == {"bfloat16"}


def test_info_of_what_is_no_model_is_bad_input(opensora):
    Path("folder").mkdir()
    for name in ("nowhere", "folder"):
        result = opensora("info", name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert name in result.stderr


def test_backends_lists_what_is_here(opensora):
    told = document(opensora("backends", "--json"))
    assert told["backends"]["numpy"] == {
        "available": True,
        "missing": None,
        "extra": None,
        "target": "opensora_backends.numpy_ops:NumpyOps",
    }
    assert told["auto"] in told["backends"]
    assert document(opensora("backends", "--json", env={"OPENSORA_BACKEND": "numpy"}))["auto"] == "numpy"
    assert f"--backend auto is {told['auto']}" in opensora("backends").stdout


class Wrong(NumpyOps):
    """A backend that multiplies a little wrong."""

    name = "wrong"

    def matmul(self, a, b):
        return super().matmul(a, b) * 1.01


def statuses(result):
    """Status of every check by name."""
    return {check["name"]: check["status"] for check in document(result)["checks"]}


class Undriven(NumpyOps):
    """A backend whose packages are here, and whose driver is not."""

    def __init__(self, device="cpu", dtype="float32"):
        raise InvalidInputError("the driver is too old: it supports 12.4 (https://example.org/old): update it")


def test_a_backend_without_its_driver_is_not_available_and_says_why(opensora, monkeypatch):
    monkeypatch.setitem(
        registry.BUILTIN, "undriven", Backend(f"{__name__}:Undriven", device="gpu:0", doctor=f"{__name__}:no_rows")
    )
    told = document(opensora("backends", "--json"))["backends"]["undriven"]
    assert (told["available"], told["missing"].rpartition(": ")[2]) == (False, "update it")
    assert "the driver is too old" in opensora("backends").stdout
    monkeypatch.setattr(checkup, "DEVICES", ("gpu",))
    found = checkup.check_backend("undriven")
    said = "the driver is too old: it supports 12.4 (https://example.org/old); optional"
    assert (found.status, found.text, found.remedy) == ("warn", said, "update it")


def test_a_message_without_a_remedy_is_told_whole():
    assert with_remedy("the driver finds no GPU") == ("the driver finds no GPU", "")


def test_doctor_is_content_where_everything_works(opensora, nano, monkeypatch):
    monkeypatch.setattr(storage, "EMBEDDED", Path(nano))
    monkeypatch.delitem(registry.BUILTIN, "torch")
    monkeypatch.setattr(registry, "PREFERENCE", ("numpy",))
    monkeypatch.setitem(registry.BUILTIN, "absent", Backend("nowhere:Ops", "package_that_is_absent", "turbo"))
    result = opensora("doctor", "--json")
    assert result.exit_code == 0, result.stdout
    found = statuses(result)
    assert found["backend numpy"] == found["h264"] == found["embedded model"] == found["numpy"] == "ok"
    assert found["backend absent"] == "warn"
    text = opensora("doctor").stdout
    assert "pip install 'opensora-core[turbo]'" in text
    assert text.splitlines()[-1] == "everything needed works"


def test_doctor_finds_a_changed_model_a_missing_package_and_a_wrong_backend(opensora, nano, monkeypatch):
    shutil.copytree(nano, "changed")
    config = Path("changed/config.json")
    config.write_text(config.read_text().replace('"fps": 8.0', '"fps": 9.0'))
    monkeypatch.setattr(storage, "EMBEDDED", Path("changed"))
    monkeypatch.setattr(checkup, "PACKAGES", ("numpy", "package-that-is-absent"))
    monkeypatch.setattr(
        registry, "BUILTIN", {"numpy": registry.BUILTIN["numpy"], "wrong": Backend(f"{__name__}:Wrong")}
    )
    monkeypatch.setattr(registry, "PREFERENCE", ("numpy",))
    result = opensora("doctor", "--json")
    assert result.exit_code == 1
    failed = [name for name, status in statuses(result).items() if status == "fail"]
    assert failed == ["package-that-is-absent", "embedded model", "backend wrong"]
    assert document(result)["ok"] is False
    assert "sha256" in result.stdout


@pytest.fixture
def golden(tmp_path):
    """A folder with one small golden set."""
    (tmp_path / "golden").mkdir()
    for suffix in ("json", "safetensors"):
        shutil.copy(ROOT / f"tests/golden/rflow_timesteps.{suffix}", tmp_path / "golden")
    return tmp_path / "golden"


def test_verify_passes_and_fails_with_its_exit_code(opensora, golden):
    result = opensora("verify", golden, "--backend", "numpy", "--dtype", "float64")
    assert result.exit_code == 0, result.stdout
    assert "PASS: 1 golden sets" in result.stdout
    told = document(opensora("verify", golden, "--backend", "numpy", "--json"))
    assert told["ok"] is True
    assert told["counts"]["pass"] == len(told["checks"])
    tensors = read_safetensors(golden / "rflow_timesteps.safetensors")
    name = next(name for name in tensors if "/out/" in name)
    tensors[name] = np.asarray(tensors[name] * 1.01, tensors[name].dtype)
    write_safetensors(golden / "rflow_timesteps.safetensors", tensors)
    result = opensora("verify", golden, "--backend", "numpy", "--failures-only")
    assert result.exit_code == 1
    assert len([line for line in result.stdout.splitlines() if line.endswith("  fail")]) == 1


@pytest.mark.parametrize("name", ["rflow_timesteps", "iddpm_tables_v1.0"])
def test_a_tensor_that_is_off_is_told_as_json(opensora, tmp_path, name):
    require("torch")
    shutil.copy(ROOT / f"tests/golden/{name}.json", tmp_path)
    tensors = dict(read_safetensors(ROOT / f"tests/golden/{name}.safetensors"))
    planted = next(key for key, x in tensors.items() if "/out/" in key and x.dtype.kind == "f")
    tensors[planted] = tensors[planted] + np.ones((), tensors[planted].dtype)
    write_safetensors(tmp_path / f"{name}.safetensors", tensors)
    result = opensora("verify", tmp_path, "--backend", "torch", "--json")
    assert result.exit_code == 1
    off = [f"{row['case']}/{row['tensor']}" for row in document(result)["checks"] if not row["ok"]]
    assert off == [planted]


def test_verify_of_no_golden_set_is_bad_input(opensora, tmp_path):
    for folder in ("nowhere", tmp_path):
        result = opensora("verify", folder, "--backend", "numpy")
        assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    "verb", ["generate", "animate", "extend", "info", "backends", "warmup", "doctor", "verify", "train", "evaluate"]
)
def test_every_verb_explains_itself_with_an_example(opensora, verb):
    result = opensora(verb, "--help", env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert f"Example: opensora {verb}" in result.stdout
    for option in ("--json", "--quiet", "--debug"):
        assert option in result.stdout


def test_without_a_verb_there_is_help_and_a_usage_error(opensora):
    result = opensora()
    assert result.exit_code == 2
    assert "generate" in result.stdout
    assert opensora("--version").stdout.startswith("opensora-core ")
    wrong = opensora("genrate")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "'generate'" in wrong.stderr
