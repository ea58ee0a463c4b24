"""Models that are incomplete or do not go together are refused before the first of them is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from opensora_core.errors import InvalidInputError, WeightsError
from opensora_core.nn.init import RandomInit
from opensora_core.pipelines.published import text
from opensora_core.pipelines.published.model import PublishedOpenSora
from opensora_core.serialization.reader import read_safetensors
from opensora_core.serialization.writer import write_safetensors
from opensora_core.text.t5 import T5Encoder
from opensora_core.text.t5_config import T5Config
from opensora_core.vae.causal3d import HunyuanVAE, HunyuanVAEConfig
from tests.pipelines.tiny_published import IMAGE, SMALL, alive, write_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All releases, and models that do not go with them."""
    folder = write_models(tmp_path_factory.mktemp("published"))
    sizes = HunyuanVAEConfig(latent_channels=8, block_out_channels=(32,) * 4, layers_per_block=1)
    others = {
        "wide-t5": T5Encoder.create(T5Config(60, 16, 4, 16, 1, 2), RandomInit(0)),
        "wide-vae": HunyuanVAE.create(sizes, RandomInit(0)),
    }
    for name, model in others.items():
        (folder / name).mkdir()
        write_safetensors(folder / name / "model.safetensors", alive(model))
    return folder


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            ("v2.0", "vae-v2.0", "wide-t5", "clip"),
            r"reads text features 8 wide; .*/wide-t5 \(T5Encoder\) makes them 16",
        ),
        (("v1.2", "vae-v1.2", "wide-t5"), r"reads text features 8 wide; .*/wide-t5"),
        (("v2.0", "vae-v2.0", "t5"), "needs the text encoder CLIPText"),
        (("v2.0", "wide-vae", "t5", "clip"), "v2.0 reads 16 channels; the autoencoder .*/wide-vae makes 32"),
    ],
)
def test_models_that_do_not_go_together(
    folder: Path, parts: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "t5_prompts", lambda *rest, **named: pytest.fail("T5 was read"))
    model = PublishedOpenSora(*(folder / part for part in parts), backend="numpy")
    with pytest.raises(InvalidInputError, match=words):
        model.generate_from_text("a cat", num_frames=17, **SMALL)


def test_a_denoiser_that_lacks_weights_or_wants_other_text(folder: Path, tmp_path: Path) -> None:
    weights = read_safetensors(folder / "v1.2" / "model.safetensors")
    write_safetensors(tmp_path / "model.safetensors", {n: a for n, a in weights.items() if n != "t_block.1.bias"})
    with pytest.raises(WeightsError, match=r"t_block\.1\.bias"):
        PublishedOpenSora(tmp_path, backend="numpy")
    shutil.copyfile(folder / "v1.2" / "model.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 2, "skip_y_embedder": True}))
    with pytest.raises(InvalidInputError, match="asks for text that was embedded before"):
        PublishedOpenSora(tmp_path, backend="numpy")


@pytest.mark.parametrize("asked", [{"references": [IMAGE], "cond_type": "i2v_head"}, {"clip_frames": 9}])
def test_a_denoiser_that_sees_no_given_frames_says_so_before_t5_is_looked_for(
    folder: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    weights = read_safetensors(folder / "v2.0" / "model.safetensors")
    bare = {name: array for name, array in weights.items() if not name.startswith("cond_in.")}
    write_safetensors(tmp_path / "model.safetensors", bare)
    model = PublishedOpenSora(tmp_path, folder / "vae-v2.0", backend="numpy")
    with pytest.raises(InvalidInputError, match=r"text alone: the layer cond_in, which reads given frames .* missing"):
        next(model.stream("a cat", num_frames=17, condition_frames=5, **asked, **SMALL))


def test_steps_that_a_sampler_cannot_take_are_refused_first(folder: Path) -> None:
    model = PublishedOpenSora(folder / "v1.1", folder / "vae", backend="numpy")
    for sampler in ("iddpm", "ddim", "dpm-solver++"):
        with pytest.raises(InvalidInputError, match="num_inference_steps=1 must be a whole number of at least 2"):
            model.request(num_inference_steps=1, sampler=sampler)


def test_a_video_tells_what_it_was_given(folder: Path) -> None:
    model = PublishedOpenSora(folder / "v1.2", *(folder / name for name in ("vae-v1.2", "t5")), backend="numpy")
    asked: dict[str, Any] = {**SMALL, "num_frames": 17, "negative_prompt": "a dog"}
    video = model.generate_from_text("a cat", references=[IMAGE], mask_strategy="0", **asked)
    told = {name: video.metadata[name] for name in ("references", "mask_strategy", "negative_prompt")}
    assert told == {"references": ["ndarray"], "mask_strategy": "0", "negative_prompt": "a dog"}
