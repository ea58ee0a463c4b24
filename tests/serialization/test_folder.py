"""The folder format and the self-contained bytes: exact, deterministic, checked in every part."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opensora_core.errors import FileFormatError, InvalidInputError
from opensora_core.serialization.folder import from_bytes, load_config, load_folder, save_folder, to_bytes

from .strategies import assert_same_bits, tensor_dicts

CONFIG = {"hidden": 8, "name": "été", "ratio": 0.1, "patch": [1, 2, 2], "deep": {"none": None, "on": True}}
TENSORS: dict[str, NDArray[Any]] = {
    "a": np.arange(4, dtype=np.float32),
    "b": np.array(-0.0, ml_dtypes.bfloat16),
    "c": np.zeros((0, 2)),
    "d": np.arange(8, dtype=np.float32),
    "e": np.array([True]),
}
SHARDS = ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"]


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save_folder(tmp_path / "model", CONFIG, TENSORS, max_shard_bytes=20)
    return tmp_path / "model"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_one_file_comes_back_exactly(tmp_path: Path) -> None:
    save_folder(tmp_path / "model", CONFIG, TENSORS)
    assert sorted(os.listdir(tmp_path / "model")) == ["config.json", "manifest.json", "model.safetensors"]
    config, tensors = load_folder(tmp_path / "model")
    assert config == load_config(tmp_path / "model") == CONFIG
    assert_same_bits(tensors, TENSORS)


def test_shards_come_back_exactly(sharded: Path) -> None:
    assert sorted(os.listdir(sharded)) == [
        "config.json",
        "manifest.json",
        *SHARDS,
        "model.safetensors.index.json",
    ]
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 51}
    assert list(index["weight_map"].values()) == [SHARDS[0]] * 3 + [SHARDS[1], SHARDS[2]]
    config, tensors = load_folder(sharded)
    assert config == CONFIG
    assert_same_bits(tensors, TENSORS)
    assert sorted(safetensors.numpy.load_file(sharded / SHARDS[1])) == ["d"]


@pytest.mark.parametrize("limit", [20, 10**9])
def test_the_same_content_gives_the_same_bytes(tmp_path: Path, limit: int) -> None:
    save_folder(tmp_path / "a", CONFIG, TENSORS, max_shard_bytes=limit)
    shuffled = dict(reversed(CONFIG.items())), dict(reversed(TENSORS.items()))
    save_folder(tmp_path / "b", *shuffled, max_shard_bytes=limit)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert to_bytes(CONFIG, TENSORS) == to_bytes(*shuffled)


@settings(max_examples=40, deadline=None)
@given(tensors=tensor_dicts)
def test_bytes_come_back_exactly(tensors: dict[str, NDArray[Any]]) -> None:
    data = to_bytes(CONFIG, tensors)
    config, found = from_bytes(data)
    assert config == CONFIG
    assert_same_bits(found, tensors)
    assert not any(array.flags.writeable for array in found.values())
    assert set(safetensors.numpy.load(to_bytes({}, {}))) == set()


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_bytes_never_crash(position: int, value: int, cut: bool) -> None:
    data = bytearray(to_bytes(CONFIG, TENSORS))
    position %= len(data)
    if cut:
        with pytest.raises(FileFormatError):
            from_bytes(bytes(data[:position]))
        return
    data[position] = value
    try:
        _, tensors = from_bytes(bytes(data))
    except FileFormatError:
        return
    assert len(tensors) == len(TENSORS)


def test_a_larger_model_of_ours_is_replaced_by_a_smaller_one(sharded: Path) -> None:
    save_folder(sharded, {"v": 2}, {"a": TENSORS["a"]})
    assert sorted(os.listdir(sharded)) == ["config.json", "manifest.json", "model.safetensors"]
    assert load_folder(sharded)[0] == {"v": 2}
    with pytest.raises(InvalidInputError, match="exists already"):
        save_folder(sharded, {}, {}, overwrite=False)


@pytest.mark.parametrize("name", ["config.json", *SHARDS, "model.safetensors.index.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_to_any_file_is_found(sharded: Path, name: str, damage: str) -> None:
    path = sharded / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes({"flip": data, "cut": data[:-1], "remove": b""}[damage])
    if damage == "remove":
        path.unlink()
    with pytest.raises(FileFormatError) as caught:
        load_folder(sharded)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": "../model-00001-of-00003.safetensors"}, "without folders"),
        ({"a": "/tmp/model-00001-of-00003.safetensors"}, "without folders"),
        ({"a": "sub\\model-00001-of-00003.safetensors"}, "without folders"),
        ({"a": "model-00001-of-00003.safetensors\n"}, "without folders"),
        ({"a": 1}, "without folders"),
        ({"a": "model-00004-of-00003.safetensors"}, "is not one of so many"),
        ({"a": SHARDS[1]}, "is not in it|is not in model.safetensors.index.json"),
        ({"z": SHARDS[0]}, "tensor 'z' of model.safetensors.index.json is not in it"),
        ({"a": None}, "tensor 'a' is not in model.safetensors.index.json"),
        ({"d": None, "e": None}, "is not one of so many"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(sharded: Path, change: dict[str, Any], words: str) -> None:
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    for name, file in change.items():
        if file is None:
            del index["weight_map"][name]
        else:
            index["weight_map"][name] = file
    path.write_text(json.dumps(index))
    with pytest.raises(FileFormatError, match=r"sha256|bytes"):
        load_folder(sharded)
    with pytest.raises(FileFormatError, match=words):
        load_folder(sharded, verify=False)


@pytest.mark.parametrize("text", ["{}", '{"weight_map": {}}', '{"weight_map": []}'])
def test_an_index_without_a_map_is_refused(sharded: Path, text: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(text)
    with pytest.raises(FileFormatError, match="weight_map"):
        load_folder(sharded, verify=False)


def test_missing_and_surplus_weights_are_refused(sharded: Path) -> None:
    shutil.copy(sharded / SHARDS[0], sharded / "extra.safetensors")
    with pytest.raises(FileFormatError, match=r"'extra\.safetensors', which does not belong"):
        load_folder(sharded)
    (sharded / "extra.safetensors").unlink()
    (sharded / SHARDS[0]).unlink()
    with pytest.raises(FileFormatError, match="lacks model-00001-of-00003"):
        load_folder(sharded, verify=False)


def test_without_verification_a_folder_may_be_edited(tmp_path: Path) -> None:
    save_folder(tmp_path / "model", CONFIG, TENSORS)
    (tmp_path / "model" / "config.json").write_text('{"v": 3}')
    with pytest.raises(FileFormatError, match=r"config\.json"):
        load_folder(tmp_path / "model")
    (tmp_path / "model" / "manifest.json").unlink()
    with pytest.raises(FileFormatError, match=r"no manifest\.json"):
        load_folder(tmp_path / "model")
    assert load_folder(tmp_path / "model", verify=False)[0] == {"v": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "Expecting value"),
        (b"[]", "expected a JSON object, found a list"),
        (b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
        (b'{"x": {"a": 1, "a": 2}}', "the key 'a' appears twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "out of the range"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b'{"a": ' + b"9" * 5000 + b"}", "integer"),
        (b'{"a": "\xff"}', "utf-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": "' + b" " * 2**20 + b'"}', "the limit is 1048576"),
    ],
)
def test_a_config_that_is_no_plain_object_is_refused(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(FileFormatError, match=words) as caught:
        load_config(tmp_path)
    assert "config.json" in str(caught.value)


class Opaque:
    pass


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ([], "config: expected a mapping, got list"),
        ({"a": {"b": [0, float("nan")]}}, r"config\.a\.b\[1\]: nan"),
        ({"a": np.float32(1)}, "float32"),
        ({"a": Opaque()}, "Opaque"),
        ({1: "a"}, "the key 1 is not a text"),
        ({"a": "\ud800"}, "no JSON form"),
        ({"a": "x" * 2**20}, "the limit is 1048576"),
    ],
)
def test_a_config_that_would_not_come_back_is_not_written(tmp_path: Path, config: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        save_folder(tmp_path / "model", config, TENSORS)
    with pytest.raises(InvalidInputError, match=words):
        to_bytes(config, TENSORS)
    assert os.listdir(tmp_path) == []


def test_a_config_that_contains_itself_is_not_written(tmp_path: Path) -> None:
    config: dict[str, Any] = {}
    config["self"] = config
    with pytest.raises(InvalidInputError, match="nested deeper than 64"):
        save_folder(tmp_path / "model", config, {})


def test_bad_tensors_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="complex64"):
        save_folder(tmp_path / "model", {}, {"w": np.zeros(1, np.complex64)})
    with pytest.raises(InvalidInputError, match="at least 1"):
        save_folder(tmp_path / "model", {}, {}, max_shard_bytes=0)
    assert os.listdir(tmp_path) == []


def test_bytes_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="expected 'config' in the metadata"):
        from_bytes(safetensors.numpy.save({"w": np.zeros(1)}))
    with pytest.raises(InvalidInputError, match="not a folder"):
        load_folder(tmp_path / "absent")
    with pytest.raises(FileFormatError, match=r"config\.json: No such file"):
        load_folder(tmp_path)
