"""Tensors survive a file bit by bit, the same tensors give the same bytes, and damage is never taken for data."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opensora_core.errors import FileFormatError, InvalidInputError, NonFiniteError, WeightsError
from opensora_core.serialization.header import LIMITS
from opensora_core.serialization.reader import open_safetensors, read_safetensors
from opensora_core.serialization.writer import write_safetensors

from .strategies import assert_same_bits, metadata_texts, names, tensor_dicts

Array = NDArray[Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all Hypothesis examples."""
    return tmp_path_factory.mktemp("safetensors")


@pytest.fixture(scope="module")
def sample(folder: Path) -> bytes:
    """A small file with an empty, a 0-d and a bool tensor."""
    tensors = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "empty": np.zeros((0, 4), np.int64),
        "scalar": np.array(1.5, ml_dtypes.bfloat16),
        "mask": np.array([True, False]),
    }
    write_safetensors(folder / "sample.safetensors", tensors, {"author": "a test"})
    return (folder / "sample.safetensors").read_bytes()


@settings(max_examples=60, deadline=None)
@given(tensors=tensor_dicts, metadata=st.dictionaries(names, metadata_texts))
def test_a_round_trip_keeps_every_bit(folder: Path, tensors: dict[str, Array], metadata: dict[str, str]) -> None:
    path = folder / "round.safetensors"
    write_safetensors(path, tensors, metadata)
    with open_safetensors(path) as opened:
        assert opened.metadata == metadata
        assert opened.shapes == {name: array.shape for name, array in opened.items()}
        assert opened.dtypes == {name: array.dtype for name, array in opened.items()}
        assert_same_bits(opened, tensors)
        assert not any(array.flags.writeable for array in opened.values())
    assert_same_bits(read_safetensors(path), tensors)


@settings(max_examples=40, deadline=None)
@given(tensors=tensor_dicts)
def test_the_bytes_are_those_of_the_safetensors_library(folder: Path, tensors: dict[str, Array]) -> None:
    path = folder / "ours.safetensors"
    write_safetensors(path, dict(reversed(tensors.items())), {"k": "v"})
    native = {n: np.array(a, a.dtype.newbyteorder("="), order="C") for n, a in tensors.items()}
    assert path.read_bytes() == safetensors.numpy.save(native, {"k": "v"})


def test_special_numbers_survive(tmp_path: Path) -> None:
    bits = np.array([0x7FC1, 0xFF81, 0x8000, 0x7F80, 0x0001], np.uint16)  # NaN payloads, -0.0, Inf, subnormal
    tensors = {"bf": bits.view(ml_dtypes.bfloat16), "f": np.array([np.nan, -0.0, np.inf], np.float64)}
    write_safetensors(tmp_path / "x", tensors)
    assert read_safetensors(tmp_path / "x")["bf"].view(np.uint16).tolist() == bits.tolist()
    assert_same_bits(read_safetensors(tmp_path / "x"), tensors)


def test_the_library_reads_ours(folder: Path, sample: bytes) -> None:
    with safetensors.safe_open(folder / "sample.safetensors", "np") as theirs:
        assert theirs.metadata() == {"author": "a test"}
        assert theirs.get_tensor("w").tolist() == [[0, 1, 2], [3, 4, 5]]
        assert sorted(theirs.keys()) == ["empty", "mask", "scalar", "w"]


def test_metadata_in_any_order_gives_the_same_bytes(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a", {}, {"b": "1", "a": "2"})
    write_safetensors(tmp_path / "b", {}, {"a": "2", "b": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arrays_outlive_the_file_object(folder: Path, sample: bytes) -> None:
    opened = open_safetensors(folder / "sample.safetensors")
    w = opened["w"]
    opened.close()
    assert w.sum() == 15
    with pytest.raises(InvalidInputError, match="closed"):
        opened["w"]


def test_an_unknown_name_suggests_a_near_one(folder: Path, sample: bytes) -> None:
    opened = open_safetensors(folder / "sample.safetensors")
    assert "scalr" not in opened
    with pytest.raises(WeightsError, match="did you mean 'scalar'"):
        opened["scalr"]


def test_unaligned_foreign_data_is_read_aligned(tmp_path: Path) -> None:
    head = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}'
    data = b"\x07" + np.float32(2.5).tobytes()
    (tmp_path / "x").write_bytes(len(head).to_bytes(8, "little") + head + data)
    b = open_safetensors(tmp_path / "x")["b"]
    assert b.flags.aligned
    assert not b.flags.writeable
    assert b.tolist() == [2.5]


class Lazy(Mapping[str, Array]):
    """Tensors of 4 MB that exist only while somebody looks at them."""

    def __getitem__(self, name: str) -> Array:
        return np.full((1024, 1024), int(name), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter([str(i) for i in range(10)])

    def __len__(self) -> int:
        return 10


def test_a_model_is_written_tensor_by_tensor(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        write_safetensors(tmp_path / "x", Lazy())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**22
    assert open_safetensors(tmp_path / "x")["7"].mean() == 7


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        ({"w": np.zeros(1, np.complex64)}, {}, "complex64 cannot be saved; convert it to one of int64"),
        ({"w": [1.0]}, {}, "expected a NumPy array, got list"),
        ({"../w": np.zeros(1)}, {}, "path"),
        ({"a\nb": np.zeros(1)}, {}, "unprintable"),
        ({"": np.zeros(1)}, {}, "empty"),
        ({3: np.zeros(1)}, {}, "not a text"),
        ({"__metadata__": np.zeros(1)}, {}, "taken by the format"),
        ({"w": np.zeros((1,) * 17)}, {}, "17 axes"),
        ({}, {"k": 1}, "must be text"),
        ({}, {"k": "\x1b[0m"}, "control characters"),
        ({}, {"k": "x" * LIMITS.header_bytes}, "the limit is"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, tensors: Any, metadata: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        write_safetensors(tmp_path / "x", tensors, metadata)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_the_first_tensor_that_is_not_finite_is_named(tmp_path: Path, dtype: Any, bad: float) -> None:
    b = np.zeros((2, 3), dtype)
    b[1, 2] = bad
    write_safetensors(tmp_path / "x", {"a": np.zeros(1, dtype), "b": b, "c": b, "i": np.zeros(1, np.int64)})
    for read in (open_safetensors, read_safetensors):
        assert set(read(tmp_path / "x")) == {"a", "b", "c", "i"}
        with pytest.raises(NonFiniteError, match=rf"tensor 'b' holds {bad} at \[1, 2\]; 1 of its 6"):
            read(tmp_path / "x", check_finite=True)


@pytest.mark.parametrize("read", [lambda path: dict(open_safetensors(path)), read_safetensors])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, sample: bytes, read: Any) -> None:
    for length in [*range(0, 40), *range(40, len(sample), 7), len(sample) - 1]:
        (tmp_path / "cut").write_bytes(sample[:length])
        with pytest.raises(FileFormatError, match="cut: "):
            read(tmp_path / "cut")
    (tmp_path / "cut").write_bytes(sample + b"\0")
    with pytest.raises(FileFormatError, match="follow the last tensor"):
        read(tmp_path / "cut")


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_changed_byte_never_crashes(folder: Path, sample: bytes, position: int, value: int) -> None:
    changed = bytearray(sample)
    changed[position % len(changed)] = value
    (folder / "changed").write_bytes(changed)
    try:
        found = read_safetensors(folder / "changed")
    except FileFormatError:
        return
    assert len(found) == 4


def test_a_bool_that_is_neither_is_refused(tmp_path: Path) -> None:
    head = b'{"m":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / "x").write_bytes(len(head).to_bytes(8, "little") + head + b"\1\7")
    with pytest.raises(FileFormatError, match="tensor 'm': a bool is stored as 7"):
        open_safetensors(tmp_path / "x")["m"]


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in [("absent", "no such file"), (".", "folder or device"), ("pipe", "device"), ("a\0", "null")]:
        with pytest.raises(InvalidInputError, match=words):
            open_safetensors(tmp_path / path)
