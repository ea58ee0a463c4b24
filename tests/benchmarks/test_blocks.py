"""The benchmarks of a block and of a generation run, and time nothing that computes something else."""

import json

import pytest

from opensora_benchmarks import generation, temporal_block
from opensora_core import OpenSora
from opensora_core.testing.conformance import require

require("numba")


def test_a_temporal_block_is_timed_in_a_process_of_the_right_threads(tmp_path):
    file = tmp_path / "block.json"
    temporal_block.main(["--repeat", "1", "--sizes", "embedded", "--backends", "numpy,numba", "--json", str(file)])
    document = json.loads(file.read_text())
    assert {"date", "processor", "load", "python", "numpy", "numba"} <= set(document["machine"])
    row = document["sizes"]["embedded"]
    assert (document["threads"], row["size"]["T"]) == (1, 5)
    assert row["numba_speedup"]["numpy"] > 0
    assert all(least["products"] < sum(least.values()) for least in row["ops_milliseconds"].values())


def test_the_embedded_size_is_that_of_a_guided_generation():
    with OpenSora.from_pretrained() as model:
        c = model.config
    (frames, rows, columns), (_, down, across) = c.codec.block, c.patch_size
    patches = c.height // (rows * down) * (c.width // (columns * across))
    clip = 1 + (c.num_frames - 1) // frames
    size = (2, clip, patches, c.num_heads, c.hidden_dim // c.num_heads, c.text.max_length)
    assert temporal_block.SIZES["embedded"] == size


@pytest.mark.parametrize(("name", "distance"), [("WrongRotary", r"\d.*e-0[1-4]"), ("NotANumber", "nan")])
def test_what_is_wrong_is_not_timed(name, distance):
    with pytest.raises(SystemExit, match=f"{name} is {distance} away from numpy: nothing to time"):
        temporal_block.measure(temporal_block.SIZES["embedded"], ["numpy", f"tests.parity.wrong:{name}"], 1)


def test_a_generation_is_timed(tmp_path):
    file = tmp_path / "generation.json"
    generation.main(["--repeat", "1", "--steps", "1", "--backends", "numpy,numba", "--json", str(file)])
    rows = json.loads(file.read_text())["backends"]
    assert rows["numpy"]["levels_off"] == 0 <= rows["numba"]["levels_off"] <= 2
    assert 0 < rows["numba"]["seconds"] <= rows["numba"]["median_seconds"]
