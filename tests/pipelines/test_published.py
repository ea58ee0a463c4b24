"""Published releases make videos through all their models, alike on NumPy and Torch."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from opensora_core.dit.mmdit import MMDiT
from opensora_core.dit.mmdit_config import MMDiTConfig
from opensora_core.errors import InvalidInputError, NonFiniteError
from opensora_core.media.video import Video
from opensora_core.nn.init import RandomInit
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.pipelines.published.components import ReleaseFiles
from opensora_core.pipelines.published.model import PublishedOpenSora
from opensora_core.serialization.reader import read_safetensors
from opensora_core.serialization.writer import write_safetensors
from tests.pipelines.tiny_published import SMALL, TEXT, alive, published, write_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All releases."""
    return write_models(tmp_path_factory.mktemp("published"))


@pytest.mark.filterwarnings("ignore:the timestep transform of v1.2 is undefined")
@pytest.mark.parametrize(("release", "frames"), [("v1.2", 16), ("v1.2", 17), ("v1.3", 16), ("v1.3", 17), ("v2.0", 17)])
def test_a_prompt_becomes_the_same_film_on_numpy_and_torch(
    folder: Path, tmp_path: Path, release: str, frames: int
) -> None:
    videos = []
    for backend in ("numpy", "torch"):
        video = published(folder, release, backend).generate_from_text("a cat on a mat", num_frames=frames, **SMALL)
        assert (video.fps, video.metadata["release"]) == (24.0, release)
        assert video.frames.std() > 1
        video.save(tmp_path / f"{backend}.mp4")
        assert Video.load(tmp_path / f"{backend}.mp4").shape == (frames, 16, 32, 3)
        videos.append(video)
    assert videos[0].psnr(videos[1]) >= 60


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


def test_a_long_video_goes_clip_by_clip_and_its_latents_are_saved_first(folder: Path, tmp_path: Path) -> None:
    model, seen = published(folder, "v1.1"), []
    file = tmp_path / "latents.safetensors"
    watch = lambda model, step, timestep, state: seen.append(step)  # noqa: E731
    options = {**SMALL, "prompt_embeds": TEXT, "latents_file": file, "callback_on_step_end": watch}
    assert model.generate_from_text("", num_frames=25, **options).num_frames == 25
    assert seen == [1, 2, 3, 4]  # 16 frames, and then as many again, 4 of them given
    assert {name: array.shape[2] for name, array in read_safetensors(file).items()} == {"clip0": 16, "clip1": 16}


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
    with pytest.raises(InvalidInputError, match=r"beside the denoiser's \(WindowedVAE of v1\.3 will not do\)"):
        PublishedOpenSora(folder / "v1.2", folder / "vae-v1.3").generate_from_text("", prompt_embeds=TEXT, **SMALL)
    with pytest.raises(InvalidInputError, match=r"cannot read .*none\.safetensors: there is no such file"):
        OpenSora.from_pretrained(folder / "none.safetensors")
    with pytest.raises(InvalidInputError, match=r"needs the text encoder T5Encoder"):
        published(folder, "v1.1").generate_from_text("a red ball", **SMALL)
    with pytest.raises(InvalidInputError, match=r"no denoiser was found"):
        PublishedOpenSora(folder / "vae")
    with pytest.raises(InvalidInputError, match=r"6 models are denoiser"):
        PublishedOpenSora(folder)


def test_from_pretrained_tells_published_weights_from_our_own(folder: Path) -> None:
    model = OpenSora.from_pretrained(folder / "v1.2", folder / "vae-v1.2", backend="numpy")
    assert isinstance(model, PublishedOpenSora)
    assert model.metadata["release"] == "v1.2"
    with pytest.raises(InvalidInputError, match="holds all its parts"):
        OpenSora.from_pretrained(None, folder / "vae")


@pytest.fixture
def repository(folder: Path, tmp_path: Path) -> Path:
    """v2.0 as its repository has it: two denoisers, the autoencoder of one of them, text encoders in folders below."""
    copy = shutil.copyfile
    copy(folder / "v2.0" / "model.safetensors", tmp_path / "Open_Sora_v2.safetensors")
    copy(folder / "vae-v2.0" / "model.safetensors", tmp_path / "hunyuan_vae.safetensors")
    sizes = MMDiTConfig(128, 64, 8, 32, 2.0, 1, 1, 1, axes_dim=(4, 14, 14), patch_size=1)
    write_safetensors(tmp_path / "Open_Sora_v2_Video_DC_AE.safetensors", alive(MMDiT.create(sizes, RandomInit(0))))
    shutil.copytree(folder / "t5", tmp_path / "google" / "t5-v1_1-xxl")
    shutil.copytree(folder / "clip", tmp_path / "openai" / "clip-vit-large-patch14")
    return tmp_path


def test_the_denoiser_meant_is_found_beside_others(repository: Path, folder: Path) -> None:
    one, other = (repository / f"Open_Sora_v2{end}.safetensors" for end in ("", "_Video_DC_AE"))
    files = ReleaseFiles([repository])
    assert (files.denoiser.path, len(files.parts)) == (one, 4)
    assert ReleaseFiles([repository, one, one.parent / "hunyuan_vae.safetensors"]).denoiser.path == one
    assert ReleaseFiles([other, repository]).denoiser.path == other, "its own path was given"
    given = ReleaseFiles([folder / "v1.2", repository, folder / "vae-v2.0"])
    assert (given.denoiser.path, given.find("HunyuanVAE").path) == (folder / "v1.2", folder / "vae-v2.0")
    with pytest.raises(InvalidInputError, match=r"2 models are denoiser: .* name the one"):
        ReleaseFiles([folder / "v1.1", folder / "v1.2"])


def test_a_name_of_the_hub_is_where_its_files_lie(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns[0]))
        return str(folder / "v1.2")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for name in ("hpcai-tech/OpenSora-STDiT-v3", "hpcai-tech/OpenSora-STDiT-v3/model.safetensors"):
        assert OpenSora.from_pretrained(name, backend="numpy").metadata["release"] == "v1.2"
    assert asked == [("hpcai-tech/OpenSora-STDiT-v3", "*.json"), ("hpcai-tech/OpenSora-STDiT-v3", "model.safetensors")]
    with pytest.raises(InvalidInputError, match=r"hpcai-tech/OpenSora of the Hugging Face hub has no x\.safetensors"):
        OpenSora.from_pretrained("hpcai-tech/OpenSora/x.safetensors")

    def offline(name: str, **how: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(InvalidInputError, match="not to be had from the Hugging Face hub: no network"):
        OpenSora.from_pretrained("hpcai-tech/OpenSora-STDiT-v3")


def test_overflow_is_an_error_not_a_film(folder: Path, tmp_path: Path) -> None:
    weights = dict(read_safetensors(folder / "v1.2" / "model.safetensors"))
    loud = {name: value * 3000 if ".mlp.fc" in name else value for name, value in weights.items()}
    write_safetensors(tmp_path / "loud.safetensors", loud)
    model = PublishedOpenSora(tmp_path / "loud.safetensors", folder / "vae-v1.2", backend="torch", dtype="float16")
    options = {"prompt_embeds": TEXT, "num_frames": 1, **SMALL}
    with pytest.raises(NonFiniteError, match=r"the latents of step 1 .* hold NaN or Inf: try dtype bfloat16"):
        model.generate_from_text("", **options)
    with pytest.warns(RuntimeWarning, match="hold NaN or Inf"):
        model.generate_from_text("", check_finite="warn", **options)
