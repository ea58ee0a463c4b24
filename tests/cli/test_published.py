"""convert and info of published weights: what is written can be read, the same bytes each time, pickles included."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects

from opensora_core.cli.saving import Target
from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.media.video import Video
from opensora_core.module import state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.pipelines.published import running
from opensora_core.registry import get_backend
from opensora_core.releases.checkpoint import open_checkpoint
from opensora_core.releases.prompts import t5_prompts
from opensora_core.serialization.writer import write_safetensors
from opensora_core.text.t5 import T5Encoder
from opensora_core.text.t5_config import T5Config
from tests.cli.conftest import document
from tests.pipelines.tiny_published import write_models
from tests.text.tiny import t5_tokenizer

CONFIG = STDiT3Config(hidden_size=24, depth=2, num_heads=2, caption_channels=8, model_max_length=6)


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in state_dict(STDiT3.create(CONFIG, RandomInit(1))).items()}


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_a_converted_model_is_complete_and_always_the_same(opensora, weights):
    write_safetensors("STDiT3.safetensors", weights)
    told = document(opensora("convert", "STDiT3.safetensors", "a", "--json"))
    assert (told["architecture"], told["release"]) == ("STDiT3", "v1.2")
    assert opensora("convert", "a", "b").exit_code == 0
    assert digests(Path("a")) == digests(Path("b"))
    np.testing.assert_array_equal(open_checkpoint("b").tensors["rope.freqs"], weights["rope.freqs"])
    assert document(opensora("info", "b", "--json"))["parts"][0]["config"]["num_heads"] == 2


def test_the_layout_of_diffusers_in_half_precision_and_in_shards(opensora, weights):
    write_safetensors("w.safetensors", weights)
    options = ("--dtype", "bfloat16", "--layout", "diffusers", "--max-shard-gb", "0.001")
    assert opensora("convert", "w.safetensors", "out", *options).exit_code == 0
    assert "diffusion_pytorch_model.safetensors" in digests(Path("out"))
    assert {str(array.dtype) for array in open_checkpoint("out").tensors.values()} == {"bfloat16"}


def test_a_pickle_is_read_only_when_it_is_converted(opensora, weights):
    torch.save({"ema": {name: torch.tensor(array) for name, array in weights.items()}, "step": 3}, "old.pth")
    refused = opensora("info", "old.pth")
    assert (refused.exit_code, "opensora convert old.pth" in refused.stderr) == (2, True)
    assert opensora("convert", "old.pth", "new").exit_code == 0
    np.testing.assert_array_equal(open_checkpoint("new").tensors["rope.freqs"], weights["rope.freqs"])


@pytest.fixture
def t5_in_pickles(weights) -> Path:
    """T5 as it was published: pickles in shards with their index, configuration and tokenizer; no safetensors."""
    t5_tokenizer(Path("t5"))
    (Path("t5") / "config.json").write_text(json.dumps({"relative_attention_max_distance": 64}))
    own = state_dict(T5Encoder.create(T5Config(60, 8, 4, 16, 1, 2), RandomInit(0)))
    files = {f"pytorch_model-0000{i + 1}-of-00002.bin": list(own)[i::2] for i in range(2)}
    for file, names in files.items():
        torch.save({name: torch.tensor(own[name]) for name in names}, Path("t5") / file)
    index = {"weight_map": {name: file for file, names in files.items() for name in names}}
    (Path("t5") / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return Path("t5")


def test_pickles_in_shards_are_converted_with_configuration_and_tokenizer(opensora, t5_in_pickles, monkeypatch):
    refused = opensora("info", "t5")
    assert "pytorch_model-00001-of-00002.bin, pytorch_model-00002-of-00002.bin: turn" in refused.stderr
    assert "`opensora convert t5 NEW`" in refused.stderr
    asked = []

    def download(name, allow_patterns):
        asked.append("*.bin" in allow_patterns)
        return "t5"

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert opensora("convert", "DeepFloyd/t5-v1_1-xxl", "new").exit_code == 0
    assert asked == [False, True], "pickles only where there is nothing else"
    assert {"spiece.model", "model.safetensors", "config.json", "manifest.json"} == set(digests(Path("new")))
    [part] = document(opensora("info", "new", "--json"))["parts"]
    assert (part["architecture"], part["config"]["relative_attention_max_distance"]) == ("T5Encoder", 64)
    for name, array in open_checkpoint("new").tensors.items():
        shards = [torch.load(file) for file in sorted(t5_in_pickles.glob("*.bin"))]
        np.testing.assert_array_equal(array, next(shard[name] for shard in shards if name in shard).numpy())
    features, _ = t5_prompts(get_backend("numpy"), "new", "v1.2")(["a cat"])
    assert features.shape == (1, 300, 8)
    (t5_in_pickles / "pytorch_model-00002-of-00002.bin").unlink()
    assert "lacks the shard pytorch_model-00002-of-00002.bin" in opensora("convert", "t5", "x").stderr


def test_the_tokenizer_lies_beside_the_text_encoder_as_diffusers_has_it(opensora, tmp_path):
    t5_tokenizer(tmp_path / "tokenizer_2")
    (tmp_path / "text_encoder_2").mkdir()
    own = state_dict(T5Encoder.create(T5Config(60, 8, 4, 16, 1, 2), RandomInit(0)))
    write_safetensors(tmp_path / "text_encoder_2" / "model.safetensors", own)
    features, _ = t5_prompts(get_backend("numpy"), tmp_path / "text_encoder_2", "v1.2")(["a cat"])
    assert features.shape == (1, 300, 8)
    assert opensora("convert", tmp_path / "text_encoder_2", "new").exit_code == 0
    assert (Path("new") / "spiece.model").exists()


def test_a_pickle_of_no_model_and_a_folder_not_to_be_replaced_are_named_as_given(opensora, weights):
    torch.save({"a": torch.zeros(1)}, "old.pth")
    assert "old.pth holds no model that is known here" in opensora("convert", "old.pth", "new").stderr
    write_safetensors("w.safetensors", weights)
    assert opensora("convert", "w.safetensors", "new").exit_code == 0
    refused = opensora("convert", "w.safetensors", "new", "--no-overwrite")
    assert "new exists already: choose another name, or allow overwriting\n" in refused.stderr
    assert opensora("convert", "w.safetensors", "new", "--overwrite").exit_code == 0


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched").resolve(),))


def test_a_pickle_that_would_run_code_runs_none_and_leaves_nothing(opensora):
    torch.save({"a": torch.zeros(1), "b": Evil()}, "evil.pth")
    result = opensora("convert", "evil.pth", "new")
    assert (result.exit_code, Path("touched").exists(), Path("new").exists()) == (2, False, False)
    assert "it holds more than tensors and plain containers" in result.stderr


def test_info_lists_every_model_in_a_folder_and_its_folders(opensora, weights):
    Path("repo/transformer").mkdir(parents=True)
    write_safetensors("repo/transformer/diffusion_pytorch_model.safetensors", weights)
    write_safetensors("repo/other.safetensors", {"unknown": np.zeros(2, np.float32)})
    [part] = document(opensora("info", "repo", "--json"))["parts"]
    assert (part["part"], part["release"], part["dtype"]) == ("denoiser", "v1.2", "float32")
    assert part["parameters"] == sum(array.size for array in weights.values())
    assert "STDiT3" in opensora("info", "repo").stdout


def test_info_and_plan_take_names_of_the_hub(opensora, tmp_path, monkeypatch):
    models, asked = write_models(tmp_path / "models"), []

    def download(name, allow_patterns):
        asked.append(
            list(filter_repo_objects(["merges.txt", "clip/merges.txt", "a.bin"], allow_patterns=allow_patterns))
        )
        return str(models / name.partition("/")[2])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert document(opensora("info", "hpcai-tech/v1.2", "--json"))["parts"][0]["release"] == "v1.2"
    size = ("--height", 16, "--width", 32, "--frames", 17, "--backend", "numpy", "--json")
    told = document(opensora("plan", "--model", "hpcai-tech/v1.2", "--with", "hpcai-tech/vae-v1.2", *size))
    assert {stage["weights"] < 2**24 for stage in told["stages"] if stage["name"] != "text encoder"} == {True}
    assert asked == [["merges.txt", "clip/merges.txt"]] * 3


def test_foreign_weights_are_not_converted(opensora):
    write_safetensors("x.safetensors", {"unknown": np.zeros(2, np.float32)})
    result = opensora("convert", "x.safetensors", "new")
    assert (result.exit_code, Path("new").exists()) == (2, False)
    assert "holds no model that is known here" in result.stderr


def test_options_of_published_weights_reach_the_model_and_are_refused_by_others(opensora, nano, tmp_path):
    write_models(tmp_path / "models")
    parts = ("--with", tmp_path / "models" / "vae", "--backend", "numpy", "--json", "-o", "a.webp")
    model = ("-m", tmp_path / "models" / "v1.1")
    refused = opensora("generate", "a cat", *model, *parts, "--motion-score", 3)
    assert (refused.exit_code, "v1.1 reads in a prompt; it reads no scores" in refused.stderr) == (2, True)
    refused = opensora("generate", "a cat", *model, *parts, "--sampler", "euler")
    assert (refused.exit_code, "is not one of iddpm, ddim, dpm-solver++" in refused.stderr) == (2, True)
    refused = opensora("generate", "a cat", *model, *parts, "--sampler-option", "eta=0.5")
    assert (refused.exit_code, "eta=0.5 is an option of sampler='ddim'" in refused.stderr) == (2, True)
    refused = opensora("generate", "a cat", *model, *parts, "--sampler-option", "eta")
    assert (refused.exit_code, "must be NAME=VALUE" in refused.stderr) == (2, True)
    refused = opensora("generate", "a cat", *model, *parts, "--resolution", "240p", "--reference", "a.png")
    assert (refused.exit_code, "cannot read a.png" in refused.stderr) == (2, True), refused.stderr
    refused = opensora("generate", "a red circle", "-m", nano, "--backend", "numpy", "--resolution", "240p")
    assert (refused.exit_code, "unknown options ['resolution']" in refused.stderr) == (2, True)
    refused = opensora("generate", "a red circle", "-m", nano, "--backend", "numpy", "--sampler", "ddim")
    assert (refused.exit_code, "is not one of rflow" in refused.stderr) == (2, True)


def interrupt(*rest):
    raise KeyboardInterrupt


def test_latents_outlive_a_decoding_that_fails_and_are_decoded_later(opensora, tmp_path, monkeypatch):
    write_models(tmp_path / "models")
    parts = (
        *(x for name in ("vae", "t5") for x in ("--with", tmp_path / "models" / name)),
        "--backend",
        "numpy",
        "--json",
    )
    asked = ("-m", tmp_path / "models" / "v1.1", *parts, "--height", 16, "--width", 32, "--steps", 2, "--seed", 7)
    long = ("--num-frames", 8, "--clip-frames", 6, "--condition-frames", 3, "--condition-frame-edit", 0.5)
    assert opensora("generate", "a cat", *asked, *long, "-o", "a.webp").exit_code == 0
    assert sorted(file.name for file in Path().glob("*.*")) == ["a.webp"]
    with monkeypatch.context() as patch:
        patch.setattr(running, "decode", lambda *rest: np.empty(2**50))
        failed = opensora("generate", "a cat", *asked, *long, "-o", "b.webp")
    assert failed.exit_code == 4, failed.stderr
    assert "kept in b-seed7.latents.safetensors: `opensora decode`" in failed.stderr
    for place in (running, "decode"), (Target, "save"):
        with monkeypatch.context() as patch:
            patch.setattr(*place, interrupt)
            stopped = opensora("generate", "a cat", *asked, "-o", "d.webp")
        assert stopped.exit_code == 130
        assert "interrupted; the latents are kept in d-seed7.latents.safetensors: `opensora decode`" in stopped.stderr
        Path("d-seed7.latents.safetensors").unlink()
    assert opensora("generate", "a cat", *asked, *long, "-o", "b.webp", "--latents-file", "all").exit_code == 0
    told = document(opensora("decode", "all", "-m", tmp_path / "models" / "vae", *parts[4:], "-o", "c.webp"))
    assert (told["num_frames"], told["condition_frame_edit"], told["seed"]) == (8, 0.5, 7)
    assert Video.load("c.webp") == Video.load("a.webp")
    assert opensora("decode", "all").exit_code == 2
