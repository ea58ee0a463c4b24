"""Memory is planned for every release, at sizes that no machine here could hold, and agrees with a real run."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.errors import InvalidInputError
from opensora_core.module import state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.pipelines.published.coding import encode
from opensora_core.pipelines.published.components import ReleaseFiles, on_backend
from opensora_core.pipelines.published.planning import GenerationPlan
from opensora_core.registry import get_backend
from opensora_core.releases.release import RELEASES
from opensora_core.releases.task import Text
from opensora_core.serialization.writer import write_safetensors
from opensora_core.vae.image import AutoencoderKLConfig
from opensora_core.vae.temporal import TemporalVAEConfig
from opensora_core.vae.two_stage import TwoStageConfig, TwoStageVAE

DENOISER = STDiT3Config(hidden_size=64, depth=1, num_heads=2, caption_channels=16, model_max_length=6, qk_norm=True)
VAE = TwoStageConfig(
    AutoencoderKLConfig(block_out_channels=(32,) * 4, layers_per_block=1),
    TemporalVAEConfig(filters=32, num_res_blocks=1, channel_multipliers=(1, 1, 1, 1)),
)
SIZE = {"height": 96, "width": 160, "num_frames": 17}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A denoiser and an autoencoder of v1.2."""
    root = tmp_path_factory.mktemp("published")
    models = {"denoiser": STDiT3.create(DENOISER, RandomInit(0)), "vae": TwoStageVAE.create(VAE, RandomInit(0))}
    for name, model in models.items():
        weights = {key: np.asarray(array) for key, array in state_dict(model).items()}
        write_safetensors(root / f"{name}.safetensors", weights)
    return root


def peak(call: Callable[[], Any]) -> int:
    call()  # what a first run keeps for the next ones
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call()
    most = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return most


def test_denoiser_and_autoencoder_take_what_was_planned(folder: Path) -> None:
    files, ops = ReleaseFiles([folder]), get_backend("numpy", dtype="bfloat16")
    planned = GenerationPlan(files, "numpy", "bfloat16", **SIZE, num_inference_steps=2)
    _, denoiser, autoencoder = planned.stages()
    text = Text(np.zeros((1, 6, 16), np.float32), np.ones((1, 6), bool))
    with on_backend(files.autoencoder, ops, "float32") as vae:
        shape = vae.latent_shape(17, 96, 160)
        z = np.zeros((1, *shape), np.float32)
        decoded = peak(lambda: vae.decode(ops, z, 17))
    task = planned.request.task(shape, planned.clip)
    with on_backend(files.denoiser, ops) as model:
        sampled = peak(lambda: list(files.release.sample(ops, model, task, text, None)))
        weights = sum(array.nbytes for array in state_dict(model).values())
    assert denoiser.weights == weights
    assert denoiser.activations == pytest.approx(sampled, rel=0.1)
    assert autoencoder.activations == pytest.approx(decoded, rel=0.1)


def test_encoding_of_given_frames_takes_what_was_planned(folder: Path) -> None:
    files, ops = ReleaseFiles([folder]), get_backend("numpy", dtype="float32")
    planned = GenerationPlan(files, "numpy", "float32", given_frames=17, **{**SIZE, "num_frames": 51})
    stages = {stage.name: stage for stage in planned.stages()}
    before = np.zeros((1, 3, 17, 96, 160), np.float32)
    with on_backend(files.autoencoder, ops, "float32") as vae:
        encoded = peak(lambda: encode(ops, vae, before, 0, "before0"))
    assert stages["given frames"].activations == pytest.approx(encoded + before.nbytes, rel=0.1)
    bare = {s.name: s for s in GenerationPlan(files, "numpy", "float32", **{**SIZE, "num_frames": 51}).stages()}
    assert "given frames" not in bare
    assert stages["denoiser"].activations > bare["denoiser"].activations  # the frames stay on the host


def test_of_a_longer_video_a_clip_that_continues_is_planned(folder: Path) -> None:
    plan = GenerationPlan(ReleaseFiles([folder]), "numpy", "float32", **{**SIZE, "num_frames": 102})
    assert (plan.clip.num_frames, plan.clip.given) == (51, 17)
    assert "given frames" in [stage.name for stage in plan.stages()]


@pytest.mark.parametrize(("release", "frames"), [("v1.1", 1), ("v1.2", 30), ("v1.3", 1), ("v2.0", 33)])
def test_given_frames_are_planned_of_every_release_that_takes_them(release: str, frames: int) -> None:
    plan = GenerationPlan(RELEASES[release], "torch", "bfloat16", given_frames=frames)
    stages = {stage.name: stage for stage in plan.stages()}
    assert stages["given frames"].weights == stages["autoencoder"].weights
    assert 0 < stages["given frames"].activations < stages["autoencoder"].activations


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_is_planned_at_its_published_size(release: str) -> None:
    stages = list(GenerationPlan(RELEASES[release], "torch", "bfloat16").stages())
    names = [stage.name for stage in stages]
    assert names == ["text encoder"] * (2 if release == "v2.0" else 1) + ["denoiser", "autoencoder"]
    denoiser = stages[-2]
    billions = {"v1.0": 0.76, "v1.1": 0.77, "v1.2": 1.21, "v1.3": 1.21, "v2.0": 11.9}
    assert denoiser.weights / 2e9 == pytest.approx(billions[release], rel=0.03)
    assert all(stage.activations > 0 for stage in stages)


def test_the_picture_of_t2i2v_is_planned_before_the_video() -> None:
    plan = GenerationPlan(RELEASES["v2.0"], "torch", "bfloat16", num_frames=5, cond_type="t2i2v")
    stages = list(plan.stages())
    names = ["text encoder"] * 2 + ["image denoiser", "image autoencoder", "given frames", "denoiser", "autoencoder"]
    assert [stage.name for stage in stages] == names
    assert (stages[2].weights / 2e9, stages[3].weights / 4e6) == pytest.approx((11.9, 83.8), rel=0.01)  # Flux, its VAE
    small = GenerationPlan(RELEASES["v2.0"], "torch", "bfloat16", cond_type="t2i2v", image_resolution="256px")
    painted = {stage.name: stage for stage in small.stages()}
    assert 0 < painted["image denoiser"].activations < stages[2].activations
    assert painted["image autoencoder"].activations < stages[3].activations
    for release, kind in (("v1.3", "t2i2v"), ("v2.0", "i2v_head")):
        with pytest.raises(InvalidInputError, match=f"cond_type='{kind}': a plan knows 't2i2v' of v2.0 only"):
            GenerationPlan(RELEASES[release], "torch", "bfloat16", cond_type=kind)


def test_a_size_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="multiples of 8; the nearest"):
        GenerationPlan(RELEASES["v1.2"], "torch", "float32", height=721, width=1280)
    with pytest.raises(InvalidInputError, match="continues nothing"):
        GenerationPlan(RELEASES["v1.0"], "torch", "float32", given_frames=1)
