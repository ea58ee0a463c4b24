"""What a user may get wrong: one short error, the right exit code, and not a file touched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensora_core import registry
from opensora_core.cli.program import explain
from opensora_core.media.video import Video
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.registry import Backend
from opensora_core.serialization.folder import load_folder, save_folder
from tests.cli.conftest import document

PROMPT = "a red circle moves right"
ON_NUMPY = ("--backend", "numpy")


def fails(result, code, *words):
    """Few lines on stderr that say all the words, nothing on stdout, and no file."""
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) <= 3
    for word in words:
        assert word in result.stderr
    assert not list(Path().glob("out*")), "a file was left behind"
    assert not list(Path().glob(".opensora-*")), "a temporary file was left behind"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], ["the prompt is empty"]),
        (["   "], ["the prompt is empty"]),
        (["red " * 5000], ["at most 2500"]),
        ([PROMPT, "--num-frames", "0"], ["num_frames=0", "from 1"]),
        ([PROMPT, "--num-frames", "-3"], ["num_frames=-3"]),
        ([PROMPT, "--height", "0"], ["height=0"]),
        ([PROMPT, "--width", "-64"], ["width=-64"]),
        ([PROMPT, "--width", "9000"], ["width=9000", "8192"]),
        ([PROMPT, "--height", "many"], ["--height", "many"]),
        ([PROMPT, "--steps", "0"], ["num_inference_steps=0"]),
        ([PROMPT, "--fps", "0"], ["fps=0"]),
        ([PROMPT, "--fps", "nan"], ["fps=nan"]),
        ([PROMPT, "--guidance-scale", "-1"], ["guidance_scale=-1"]),
        ([PROMPT, "--seed", "-1"], ["seed=-1"]),
        ([PROMPT, "--scale", "0"], ["scale=0", "from 1 to 64"]),
        ([PROMPT, "--dtype", "int8"], ["'int8'", "float32"]),
        ([PROMPT, "--device", "cuda"], ["'cuda'", "cpu"]),
        ([PROMPT, "--sead", "1"], ["--sead", "opensora generate --help"]),
        ([PROMPT, "extra"], ["extra"]),
        ([], ["PROMPT"]),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(opensora, nano, arguments, words):
    fails(opensora("generate", *arguments, "-m", nano, *ON_NUMPY), 2, *words)


def test_an_absurd_size_is_refused_before_anything_is_allocated(opensora, nano):
    size = ("--num-frames", 5000, "--height", 8000, "--width", 8000)
    fails(opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, *size), 4, "5000 frames of 8000x8000 need", "available")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("missing/out.mp4", ["does not exist"]),
        ("out.avi", ["'.avi'", ".mp4"]),
        ("out.png", ["one frame"]),
        ("taken", ["a file of that name exists"]),
        ("mine", ["may hold files of yours"]),
        ("film.mp4", ["is a folder", "'film.mp4/'"]),
        ("", ["cannot save a video as ''"]),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(opensora, nano, monkeypatch, output, words):
    Path("taken").touch()
    Path("mine").mkdir()
    Path("film.mp4").mkdir()
    Path("mine/diary.txt").touch()
    monkeypatch.setattr(OpenSora, "stream", lambda *a, **k: pytest.fail("the work was begun"))
    fails(opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "-o", output), 2, *words)
    assert Path("mine/diary.txt").exists()


def test_existing_files_are_replaced_or_with_no_overwrite_refused(opensora, nano):
    arguments = ("generate", PROMPT, "-m", nano, *ON_NUMPY, "-o", "a.mp4")
    Path("a.mp4").write_bytes(b"precious")
    result = opensora(*arguments, "--no-overwrite")
    fails(result, 2, "a.mp4 exists already")
    assert Path("a.mp4").read_bytes() == b"precious"
    Path("a.png").write_bytes(b"precious")
    fails(opensora(*arguments[:-1], "b.mp4", "--contact-sheet", "a.png", "--no-overwrite"), 2, "a.png exists already")
    assert not Path("b.mp4").exists()
    assert opensora(*arguments).exit_code == 0
    assert Video.load("a.mp4").num_frames == 5


@pytest.mark.parametrize(("verb", "name"), [("extend", "a.webp"), ("animate", "a.png")])
def test_what_is_read_is_not_written_over(opensora, nano, verb, name):
    Video(np.zeros((1, 16, 16, 3), np.uint8), fps=8).save(name)
    before = Path(name).read_bytes()
    result = opensora(verb, name, PROMPT, "-m", nano, *ON_NUMPY, "-o", f"./{name}", "--num-frames", 1)
    fails(result, 2, f"{name} would be replaced", "--output")
    assert Path(name).read_bytes() == before


def test_what_fails_at_the_end_leaves_the_old_file(opensora, nano, monkeypatch):
    Path("a.mp4").write_bytes(b"precious")

    def out_of_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("opensora_core.media.encode.write_mp4", out_of_space)
    fails(opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "-o", "a.mp4"), 4, "no space left")
    assert Path("a.mp4").read_bytes() == b"precious"
    assert [p.name for p in Path().iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("verb", ["animate", "extend"])
def test_an_image_or_clip_that_cannot_be_decoded_is_named(opensora, nano, verb):
    Path("text.mp4").write_text("no video at all")
    Path("empty.png").touch()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save("cut.png")
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[:60])
    for name, word in (("text.mp4", "text.mp4"), ("empty.png", "empty"), ("cut.png", "cut.png"), ("none", "No such")):
        fails(opensora(verb, name, "-m", nano, *ON_NUMPY), 2, word)


def test_an_unknown_backend_names_those_there_are(opensora, nano):
    fails(opensora("generate", PROMPT, "-m", nano, "--backend", "jax"), 2, "'jax'", "numpy", "torch")


def test_a_backend_that_is_not_installed_names_its_extra_and_has_a_code_of_its_own(opensora, nano, monkeypatch):
    monkeypatch.setitem(registry.BUILTIN, "absent", Backend("nowhere:Ops", "package_that_is_absent", "turbo"))
    result = opensora("generate", PROMPT, "-m", nano, "--backend", "absent")
    fails(result, 3, "pip install 'opensora-core[turbo]'")
    told = document(opensora("backends", "--json"))
    assert told["backends"]["absent"]["available"] is False
    assert "opensora-core[turbo]" in told["backends"]["absent"]["missing"]
    assert "pip install 'opensora-core[turbo]'" in opensora("backends").stdout


def test_a_model_that_is_missing_or_damaged_is_named(opensora, nano, tmp_path):
    fails(opensora("generate", PROMPT, "-m", "nowhere", *ON_NUMPY), 2, "nowhere")
    config, tensors = load_folder(nano)
    save_folder("bad", config, {name: a for name, a in tensors.items() if "y_embedding" not in name})
    fails(opensora("generate", PROMPT, "-m", "bad", *ON_NUMPY), 2, "y_embedding")
    weights = Path("bad/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-10])
    fails(opensora("generate", PROMPT, "-m", "bad", *ON_NUMPY), 2, "model.safetensors")


def test_nan_inside_the_loop_names_the_step(opensora, nano):
    config, tensors = load_folder(nano)
    bias = "denoiser.final_layer.linear.bias"
    save_folder("broken", config, {**tensors, bias: np.full_like(tensors[bias], np.nan)})
    fails(opensora("generate", PROMPT, "-m", "broken", *ON_NUMPY), 1, "latents of step 1", "NaN")


class OutOfMemoryError(RuntimeError):
    """As torch.cuda names its own."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 TiB"),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 9 TiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_running_out_of_memory_is_told_whoever_did(opensora, nano, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(OpenSora, "stream", fail)
    fails(opensora("generate", PROMPT, "-m", nano, *ON_NUMPY), 4, "out of memory", "smaller size")


def test_torch_really_runs_out_of_memory_in_these_words():
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert explain(caught.value)[0] == 4


def test_errors_are_json_too_and_debug_shows_the_traceback(opensora, nano, monkeypatch):
    result = opensora("generate", PROMPT, "--json", "--backend", "jax", "-m", nano)
    assert document(result)["exit_code"] == result.exit_code == 2
    assert "jax" in document(result)["error"]
    assert "Traceback" not in result.stderr
    assert json.loads(opensora("generate", "--json").stdout)["type"] == "MissingParameter"

    monkeypatch.setattr(OpenSora, "stream", lambda *a, **k: 1 / 0)
    result = opensora("generate", PROMPT, "-m", nano, *ON_NUMPY)
    fails(result, 1, "internal error", "ZeroDivisionError", "--debug")
    result = opensora("generate", PROMPT, "-m", nano, *ON_NUMPY, "--debug")
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError: division by zero" in result.stderr
