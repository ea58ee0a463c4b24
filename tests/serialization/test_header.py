"""The header parser accepts what the format allows and refuses everything else, quickly and in little memory."""

from __future__ import annotations

import io
import json
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora_core.errors import FileFormatError
from opensora_core.serialization.header import LIMITS, Entry, Header, Limits, read_header

ONE = '"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def parse(text: str | bytes, data: int = 0, limits: Limits = LIMITS) -> Header:
    head = text.encode() if isinstance(text, str) else text
    raw = len(head).to_bytes(8, "little") + head + bytes(data)
    return read_header(io.BytesIO(raw), len(raw), "file.safetensors", limits)


def refusal(text: str | bytes, data: int = 0, limits: Limits = LIMITS) -> str:
    with pytest.raises(FileFormatError) as caught:
        parse(text, data, limits)
    message = str(caught.value)
    assert message.startswith("file.safetensors: ")
    assert message.isprintable()
    assert len(message) < 600
    return message


def tensor(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> str:
    return json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})


def test_entries_come_in_the_order_of_their_data() -> None:
    header = parse(
        '{"b": {"shape" : [], "dtype":"BF16", "data_offsets":[8, 10]} ,\n'
        '"__metadata__":{"k":"a\\nb \\u00e9"},"a":{"data_offsets":[0,8],"dtype":"F64","shape":[1,1]},'
        '"e":{"dtype":"I8","shape":[0,3],"data_offsets":[8,8]}}  ',
        10,
    )
    assert list(header.entries) == ["a", "e", "b"]
    assert header.entries["a"] == Entry("F64", (1, 1), 0, 8)
    assert header.entries["b"] == Entry("BF16", (), 8, 10)
    assert header.metadata == {"k": "a\nb é"}
    assert parse("{}").entries == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not start with"),
        (" {}", "does not start with"),
        ("[]", "does not start with"),
        ("{", "quoted name"),
        ("{" + ONE, "expected ',' or '}'"),
        ("{" + ONE + ",}", "quoted name"),
        ("{" + ONE + "}x", "goes on with 'x'"),
        ("{" + ONE + "," + ONE + "}", "'w' appears twice"),
        ('{"__metadata__":{},"__metadata__":{}}', "'__metadata__' appears twice"),
        ('{"__metadata__":{"k":"","k":""}}', "metadata 'k' appears twice"),
        ('{"__metadata__":{"k":1}}', "expected a text"),
        ('{"__metadata__":{"k":"\\u0000"}}', "control characters"),
        ('{"__metadata__":{"k":"\\ud800"}}', "lone surrogates"),
        ('{"__metadata__":[]}', "expected an object"),
        ('{"w":1}', "exactly dtype, shape and data_offsets"),
        ('{"w":{"dtype":"F32","shape":[2]}}', "exactly dtype, shape and data_offsets"),
        ('{"w":{"dtype":"F32","shape":[2],"shape":[2]}}', "exactly dtype, shape and data_offsets"),
        (ONE.join("{}").replace('"shape"', '"extra":1,"shape"'), "exactly dtype, shape and data_offsets"),
        (tensor(shape=[-2]), "exactly dtype, shape and data_offsets"),
        (tensor(shape=[2.0]), "exactly dtype, shape and data_offsets"),
        (tensor(shape=[True]), "exactly dtype, shape and data_offsets"),
        (tensor(shape=[10**19]), "exactly dtype, shape and data_offsets"),
        (tensor(shape="2"), "shape is not a list"),
        (tensor(shape=[1] * 17), "shape has 17 numbers, the limit is 16"),
        (tensor(dtype="F128"), "dtype 'F128' is unknown; supported are I64, F64"),
        (tensor(offsets=[0]), "not a begin and an end"),
        (tensor(offsets=[8, 0]), "not a begin and an end"),
        (tensor(offsets=[0, 4, 8]), "the limit is 2"),
        (tensor(shape=[3]), "takes 12 bytes, data_offsets [0, 8] span 8"),
        (tensor(shape=[2**40, 2**40], offsets=[0, 0]), "data_offsets [0, 0] span 0"),
        (tensor(offsets=[8, 16]), "leaves a gap after the header"),
        ("{" + ONE + "," + ONE.replace('"w"', '"v"') + "}", "overlaps tensor 'w'"),
        (tensor(shape=[4], offsets=[0, 16]), "only 8 are there; is the file truncated?"),
        (tensor(shape=[1], offsets=[0, 4]), "4 bytes follow the last tensor"),
        (b'{"\xff":1}', "not UTF-8"),
    ],
)
def test_a_broken_header_is_refused_by_name(text: str | bytes, words: str) -> None:
    assert words in refusal(text, data=8)


@pytest.mark.parametrize("name", ["", "../x", "a/../b", "..", "..\\x", "/etc/passwd", "\\x", "C:/x", "C:\\x"])
def test_names_out_of_the_folder_are_refused(name: str) -> None:
    refusal(json.dumps({name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}), 8)


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "\x1b[31m", "a\u202eb", "\ud800", "\x7f"])
def test_unprintable_names_are_refused(name: str) -> None:
    message = refusal(json.dumps({name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}), 8)
    assert "unprintable" in message


@pytest.mark.parametrize("name", ["blocks.0.attn.qkv.weight", "a/b", "..a", "poids d'été", "a:b", "x" * 512])
def test_harmless_names_are_accepted(name: str) -> None:
    text = json.dumps({name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
    assert list(parse(text, 8).entries) == [name]


@pytest.mark.parametrize("raw", [b"", b"\x02\0\0\0", b"\x02\0\0\0\0\0\0\0{", b"\xff" * 8, b"<html>404</html>"])
def test_lengths_beyond_the_file_or_the_limit_are_refused(raw: bytes) -> None:
    with pytest.raises(FileFormatError):
        read_header(io.BytesIO(raw), len(raw), "file.safetensors")


def test_each_limit_is_named() -> None:
    many = json.dumps({f"w{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(4)})
    assert len(parse(many, limits=Limits(entries=4)).entries) == 4
    assert "more tensors than the limit of 3" in refusal(many, limits=Limits(entries=3))
    assert "the limit is 64" in refusal(many, limits=Limits(header_bytes=64))
    assert "has 1 characters, the limit is 0" in refusal("{" + ONE + "}", limits=Limits(name_length=0))
    assert "the limit of 0 keys" in refusal('{"__metadata__":{"k":""}}', limits=Limits(metadata_entries=0))


def test_half_a_million_entries_are_refused_before_they_are_read() -> None:
    entry = '"transformer_blocks.{:06d}.w":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    text = "{" + ",".join(entry.format(i) for i in range(500_000)) + "}"
    assert len(text) > 33_000_000
    assert "the limit is 8388608" in refusal(text)


BOMBS = {  # start, what is repeated how often, end
    "objects": ("", '{"a":', 1_600_000, ""),
    "lists": ('{"a":', "[", 8_000_000, ""),
    "shape": ('{"a":{"dtype":"U8","data_offsets":[0,0],"shape":[', "0,", 3_900_000, "0]}}"),
    "digits": ('{"a":{"dtype":"U8","data_offsets":[0,0],"shape":[', "1", 8_000_000, "]}}"),
    "open name": ('{"', "\\n", 4_000_000, ""),
    "long name": ('{"', "\\n", 4_000_000, '":1}'),
    "metadata": ('{"__metadata__":{', '"a":"",', 1_000_000, '"b":""}}'),
    "blanks": ('{"a"', " ", 8_000_000, "}"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_within_the_size_limit_costs_little(name: str) -> None:
    start, unit, count, end = BOMBS[name]
    head = (start + unit * count + end).encode()
    assert 5_000_000 < len(head) < LIMITS.header_bytes
    file = io.BytesIO(len(head).to_bytes(8, "little") + head)
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(FileFormatError):
            read_header(file, len(head) + 8, "file.safetensors")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 2.0
    assert peak < 5 * LIMITS.header_bytes


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_refused_or_still_a_header(flips: list[tuple[int, int]]) -> None:
    head = bytearray(b'{"__metadata__":{"k":"v"},' + ONE.encode() + b',"v":{"dtype":"I8","shape":[0],')
    head += b'"data_offsets":[8,8]}}'
    raw = bytearray(len(head).to_bytes(8, "little") + head + bytes(8))
    for position, value in flips:
        raw[position % len(raw)] = value
    try:
        header = read_header(io.BytesIO(bytes(raw)), len(raw), "file.safetensors")
    except FileFormatError:
        return
    assert sum(entry.end - entry.begin for entry in header.entries.values()) == len(raw) - header.data_start
