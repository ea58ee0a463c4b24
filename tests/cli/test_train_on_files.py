"""train on a folder of videos: the recipe names it, the result names what was skipped, a resumed run ends the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from opensora_core.serialization.folder import load_folder
from tests.cli.conftest import document
from tests.training.datasets.clips import write_folder

ON_NUMPY = ("--backend", "numpy")


@pytest.fixture
def recipe_of_files(recipe):
    """A recipe of the nano model that learns from the folder `clips`, with one broken file; returns a writer."""
    write_folder(Path("clips"), videos=3, pictures=1)
    Path("clips/broken.mp4").write_bytes(b"no video")
    Path("clips/broken.txt").write_text("a caption without a clip")

    def write(steps: int) -> str:
        path = recipe(steps)
        text = Path(path).read_text().replace('name = "tiny"', 'name = "tiny"\ndata = "clips"')
        still = "[[stages.buckets]]\nnum_frames = 1\nheight = 16\nwidth = 16\nbatch_size = 2\n"
        Path(path).write_text(text + still)
        return path

    return write


def weights(folder):
    return {name: np.asarray(a) for name, a in load_folder(Path(folder))[1].items() if name.startswith("params/")}


def test_a_run_on_files_names_what_it_skips_and_goes_on_where_it_stopped_to_the_bit(opensora, nano, recipe_of_files):
    start = ("train", "--init", nano, *ON_NUMPY, "--json")
    whole = opensora(*start, "-c", recipe_of_files(6), "-o", "whole", "--workers", 2, "--cache", "cache")
    assert whole.exit_code == 0, whole.stderr
    told = document(whole)
    assert (told["step"], told["samples"]) == (6, 12)
    assert told["skipped"].keys() == {"clips/broken.mp4"}
    assert "1 file was skipped: clips/broken.mp4 cannot be read" in told["notes"][0]
    assert told["cache_bytes"] == sum(p.stat().st_size for p in Path("cache").rglob("*.safetensors")) > 0
    log = [json.loads(line) for line in Path("whole/log.jsonl").read_text().splitlines()]
    assert log[0]["skipped"].keys() == {"clips/broken.mp4"}
    assert not any("skipped" in line for line in log[1:])

    opensora(*start, "-c", recipe_of_files(3), "-o", "parts")
    parts = opensora("train", "-c", recipe_of_files(6), "-o", "parts", "--resume", *ON_NUMPY)
    assert parts.exit_code == 0, parts.stderr
    again = [json.loads(line)["loss"] for line in Path("parts/log.jsonl").read_text().splitlines()]
    assert again == [line["loss"] for line in log]
    one, other = weights("whole/step-00000006"), weights("parts/step-00000006")
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert Path("parts/cache").is_dir()


def test_words_of_captions_that_the_model_does_not_know_are_named_before_it_trains(opensora, nano, recipe_of_files):
    Path("clips/clip0.txt").write_text("a red ball zooms and swings")
    result = opensora("train", "--init", nano, *ON_NUMPY, "--json", "-c", recipe_of_files(1), "-o", "run")
    assert result.exit_code == 0, result.stderr
    note = document(result)["notes"][0]
    assert "all being unknown: swings, zooms; `python -m opensora_core.pipelines.new_words` adds words" in note


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('data = "clips"', 'data = "clip"', "data='clip' does not exist"),
        ('data = "clips"', "data = 7", "stage 1 ('tiny'): data=7 must be the path"),
        ('data = "clips"', 'data = "clips"\nworld = "easy"', "stage 1 ('tiny') has both data and world"),
        ('data = "clips"', 'data = "clips"\nworld_share = 0.1', "makes 0 of the 2 clips of a batch, and both kinds"),
        ('data = "clips"', "world_share = 0.5", "world_share need files, and this stage names none: add data"),
        ('data = "clips"', "moments = 2", "moments need files, and this stage names none: add data"),
        ('data = "clips"', 'data = "clips"\nframe_interval = 0', "frame_interval=0 must be a whole number"),
        ('data = "clips"', 'data = "clips"\nbucket_config = {144p = {1 = [1, 1]}}', "or a bucket_config, not both"),
        ("num_frames = 5", "num_frames = 500", "no file of clips is long enough for the bucket of 500 frames"),
    ],
)
def test_data_of_no_use_is_refused_and_begins_no_run(opensora, nano, recipe_of_files, old, new, words):
    path = Path(recipe_of_files(1))
    path.write_text(path.read_text().replace(old, new, 1))
    result = opensora("train", "-c", path, "-o", "run", "--init", nano, *ON_NUMPY)
    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    assert words in result.stderr
    assert not Path("run").exists()
