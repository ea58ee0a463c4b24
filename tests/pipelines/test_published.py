"""Published releases make videos through all their models, alike on NumPy and Torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit import STDiT, STDiTConfig
from opensora_core.dit.stdit2 import STDiT2, STDiT2Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.dit.stdit3_windows import WindowedConfig, WindowedSTDiT3
from opensora_core.errors import InvalidInputError
from opensora_core.module import named_leaves
from opensora_core.nn.init import RandomInit
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.pipelines.published.model import PublishedOpenSora
from opensora_core.releases.task import Text
from opensora_core.serialization.reader import read_safetensors
from opensora_core.serialization.writer import write_safetensors
from opensora_core.vae.image import AutoencoderKL, AutoencoderKLConfig
from opensora_core.vae.temporal import TemporalVAEConfig
from opensora_core.vae.two_stage import TwoStageConfig, TwoStageVAE
from opensora_core.vae.windowed import WindowedVAE, WindowedVAEConfig

TINY = {"hidden_size": 24, "depth": 1, "num_heads": 2, "caption_channels": 8, "model_max_length": 6, "qk_norm": True}
IMAGES = AutoencoderKLConfig(block_out_channels=(32,) * 4, layers_per_block=1)
SMALL = {"num_inference_steps": 2, "height": 16, "width": 32, "seed": 0}
rng = np.random.default_rng(0)
TEXT = Text(rng.standard_normal((1, 6, 8)).astype(np.float32), np.arange(6)[None] < 4)


def alive(module: Any) -> dict[str, np.ndarray]:
    """Weights of a new model in which nothing is zero, so that every part of it counts."""
    draws = np.random.default_rng(1)
    return {
        n: np.where(a == 0, 0.1 * draws.standard_normal(a.shape), a).astype(np.float32) for n, a in named_leaves(module)
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Denoisers of v1.0 to v1.3 and the autoencoders of their latents."""
    root = tmp_path_factory.mktemp("published")
    init = RandomInit(2)
    v1_0 = STDiTConfig(**{**TINY, "hidden_size": 144, "qk_norm": False}, input_size=(4, 2, 3))
    models = {
        "v1.0": STDiT.create(v1_0, init),
        "v1.1": STDiT2.create(STDiT2Config(**TINY, input_sq_size=512), init),
        "v1.2": STDiT3.create(STDiT3Config(**TINY), init),
        "v1.3": WindowedSTDiT3.create(WindowedConfig(**TINY, in_channels=16), init),
        "vae": AutoencoderKL.create(IMAGES, init),
        "vae-v1.3": WindowedVAE.create(WindowedVAEConfig(ch=32, ch_mult=(1, 1, 1, 1), num_res_blocks=1), init),
        "vae-v1.2": TwoStageVAE.create(
            TwoStageConfig(IMAGES, TemporalVAEConfig(filters=32, num_res_blocks=1, channel_multipliers=(1, 1, 1, 1))),
            init,
        ),
    }
    for name, model in models.items():
        (root / name).mkdir()
        write_safetensors(root / name / "model.safetensors", alive(model))
    return root


def published(folder: Path, release: str, backend: str = "numpy") -> PublishedOpenSora:
    autoencoder = {"v1.2": "vae-v1.2", "v1.3": "vae-v1.3"}.get(release, "vae")
    return PublishedOpenSora(folder / release, folder / autoencoder, backend=backend)


def test_a_v1_2_video_is_the_same_on_numpy_and_torch(folder: Path, tmp_path: Path) -> None:
    videos = []
    for backend in ("numpy", "torch"):
        model = published(folder, "v1.2", backend)
        video = model.generate_from_text("", prompt_embeds=TEXT, num_frames=17, **SMALL)
        assert (video.frames.shape, video.fps, video.metadata["release"]) == ((17, 16, 32, 3), 24.0, "v1.2")
        video.save(tmp_path / f"{backend}.mp4")
        videos.append(video.frames.astype(np.float64))
    assert videos[0].std() > 1
    error = np.mean((videos[0] - videos[1]) ** 2)
    assert error == 0 or 10 * np.log10(255**2 / error) >= 60


def test_a_v1_3_video_goes_through_overlapping_windows(folder: Path) -> None:
    video = published(folder, "v1.3").generate_from_text("", prompt_embeds=TEXT, num_frames=21, **SMALL)
    assert video.frames.shape == (21, 16, 32, 3)
    assert video.frames.std() > 1


def test_a_video_is_the_same_with_blocks_left_on_the_disk(folder: Path) -> None:
    options = {**SMALL, "prompt_embeds": TEXT, "num_frames": 17}
    whole = published(folder, "v1.2").generate_from_text("", **options)
    paths = folder / "v1.2", folder / "vae-v1.2"
    model = OpenSora.from_pretrained(*paths, backend="numpy", offload_type="block_level")
    assert model.metadata["offload_type"] == "block_level"
    np.testing.assert_array_equal(model.generate_from_text("", **options).frames, whole.frames)
    with pytest.raises(InvalidInputError, match=r"'blocks' is not one of none, block_level"):
        OpenSora.from_pretrained(*paths, offload_type="blocks")
    with pytest.raises(InvalidInputError, match="this model is small"):
        OpenSora.from_pretrained(offload_type="block_level")


@pytest.mark.parametrize("release", ["v1.0", "v1.1"])
def test_releases_of_gaussian_diffusion_make_videos(folder: Path, release: str) -> None:
    video = published(folder, release).generate_from_text("", prompt_embeds=TEXT, num_frames=4, **SMALL)
    assert video.frames.shape == (4, 16, 32, 3)
    assert video.frames.std() > 1


@pytest.mark.parametrize("release", ["v1.1", "v1.2"])
def test_an_image_begins_the_video_and_is_kept(folder: Path, release: str) -> None:
    image = rng.integers(0, 255, (16, 32, 3), np.uint8)
    model = published(folder, release)
    video = model.generate_from_image(image, prompt_embeds=TEXT, num_frames=20, **SMALL)
    np.testing.assert_array_equal(video.frames[0], image)
    assert video.num_frames == 20


def test_a_long_video_goes_clip_by_clip_and_its_latents_are_saved_first(folder: Path, tmp_path: Path) -> None:
    model, seen = published(folder, "v1.1"), []
    file = tmp_path / "latents.safetensors"
    watch = lambda model, step, timestep, state: seen.append(step)  # noqa: E731
    options = {**SMALL, "prompt_embeds": TEXT, "latents_file": file, "callback_on_step_end": watch}
    assert model.generate_from_text("", num_frames=25, **options).num_frames == 25
    assert seen == [1, 2, 3, 4]  # 16 frames, and then 4 given ones with 9 more
    assert {name: array.shape[2] for name, array in read_safetensors(file).items()} == {"clip0": 16, "clip1": 13}


def test_a_video_is_extended_and_kept(folder: Path) -> None:
    model = published(folder, "v1.1")
    clip = model.generate_from_text("", prompt_embeds=TEXT, num_frames=5, **SMALL)
    longer = model.extend_video(clip, num_frames=3, prompt_embeds=TEXT, num_inference_steps=2, seed=1)
    assert longer.num_frames == 8
    np.testing.assert_array_equal(longer.frames[:5], clip.frames)


def test_what_cannot_be_made_is_said_before_anything_is_read(folder: Path) -> None:
    model = published(folder, "v1.2")
    with pytest.raises(InvalidInputError, match=r"multiples of 8; the nearest is 32x16"):
        model.generate_from_text("", prompt_embeds=TEXT, **{**SMALL, "height": 17})
    with pytest.raises(InvalidInputError, match=r"unknown options \['steps'\]"):
        model.generate_from_text("", prompt_embeds=TEXT, steps=3)
    with pytest.raises(InvalidInputError, match=r"v1\.0 continues nothing"):
        published(folder, "v1.0").generate_from_text("", prompt_embeds=TEXT, num_frames=17)
    with pytest.raises(InvalidInputError, match=r"v1\.2 needs the autoencoder TwoStageVAE, which is not in"):
        PublishedOpenSora(folder / "v1.2", backend="numpy").generate_from_text("", prompt_embeds=TEXT, **SMALL)
    with pytest.raises(InvalidInputError, match=r"needs the text encoder T5Encoder"):
        model.generate_from_text("a red ball", **SMALL)
    with pytest.raises(InvalidInputError, match=r"no denoiser was found"):
        PublishedOpenSora(folder / "vae")
    with pytest.raises(InvalidInputError, match=r"4 models are denoiser"):
        PublishedOpenSora(folder)


def test_from_pretrained_tells_published_weights_from_our_own(folder: Path) -> None:
    model = OpenSora.from_pretrained(folder / "v1.2", folder / "vae-v1.2", backend="numpy")
    assert isinstance(model, PublishedOpenSora)
    assert model.metadata["release"] == "v1.2"
    with pytest.raises(InvalidInputError, match="holds all its parts"):
        OpenSora.from_pretrained(None, folder / "vae")


def test_a_name_of_the_hub_is_where_its_files_lie(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, **how: object) -> str:
        asked.append(name)
        return str(folder / "v1.2")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = OpenSora.from_pretrained("hpcai-tech/OpenSora-STDiT-v3", backend="numpy")
    assert (asked, model.metadata["release"]) == (["hpcai-tech/OpenSora-STDiT-v3"], "v1.2")

    def offline(name: str, **how: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(InvalidInputError, match="not to be had from the Hugging Face hub: no network"):
        OpenSora.from_pretrained("hpcai-tech/OpenSora-STDiT-v3")
