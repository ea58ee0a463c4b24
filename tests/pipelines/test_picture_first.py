"""t2i2v of v2.0: an image model in the layout of Flux makes the picture that a video begins with."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_core.conditioning.sizes import size_v2_like
from opensora_core.errors import CancelledError, InvalidInputError
from opensora_core.media.images import fit
from opensora_core.media.video import Video
from opensora_core.pipelines.published.coding import decode
from opensora_core.pipelines.published.components import on_backend
from opensora_core.pipelines.published.later import decode_latents
from opensora_core.pipelines.published.model import PublishedOpenSora
from opensora_core.random import normal_batch
from opensora_core.releases.prompts import clip_prompts, t5_prompts
from opensora_core.releases.task import Text
from opensora_core.schedulers.flow_v2 import times_v2
from opensora_core.serialization.reader import read_safetensors
from opensora_core.vae.pixels import to_frames
from tests.pipelines.tiny_published import IMAGE, PARTS, SMALL, published, write_models

ASKED = {**SMALL, "num_frames": 5, "cond_type": "t2i2v", "image_resolution": "256px"}
SIZE = (176, 352)  # of 256px at 2:1, as 32x16 is


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All releases."""
    return write_models(tmp_path_factory.mktemp("published"))


def painter(folder: Path, *without: str, backend: str = "numpy") -> PublishedOpenSora:
    """v2.0 with an image model."""
    parts = [part for part in ("v2.0", *PARTS["v2.0"], "flux", "flux-ae") if part not in without]
    return PublishedOpenSora(*(folder / part for part in parts), backend=backend)


def painted(model: PublishedOpenSora, text: Text, seed: int) -> np.ndarray:
    """Latents of the picture by Euler's method, step for step."""
    ops, h, w = model.ops, SIZE[0] // 8, SIZE[1] // 8
    noise = normal_batch(seed, "picture", 1, (16, 1, h, w))
    x = noise.reshape(16, h // 2, 2, w // 2, 2).transpose(1, 3, 0, 2, 4).reshape(1, -1, 64)
    shift = 1 + (x.shape[1] - 256) * 2 / (4096 - 256)
    times = times_v2(SMALL["num_inference_steps"], shift)
    with on_backend(model.files.image_denoiser, ops) as flux:
        for t, end in pairwise(times):
            time, guidance = np.float32([t]), np.float32([4.0])
            v = flux(ops, x, time, text.features, text.pooled, None, (1, h // 2, w // 2), guidance)
            x = x + np.float32(end - t) * v
    return x.reshape(h // 2, w // 2, 16, 2, 2).transpose(2, 0, 3, 1, 4).reshape(1, 16, 1, h, w)


def test_the_picture_is_painted_of_the_plain_text_and_the_video_begins_with_it(folder: Path, tmp_path: Path) -> None:
    model, seen, file = painter(folder), [], tmp_path / "latents.safetensors"
    watch = lambda model, step, timestep, state: seen.append(step)  # noqa: E731
    video = model.generate_from_text("a cat", latents_file=file, callback_on_step_end=watch, **ASKED)
    assert (video.num_frames, seen) == (5, [1, 2, 3, 4])
    saved = read_safetensors(file)
    features, mask = t5_prompts(model.ops, folder / "t5", "v2.0")(["a cat"])
    text = Text(features, mask, pooled=clip_prompts(model.ops, folder / "clip")(["a cat"]).features)
    np.testing.assert_allclose(saved["picture"], painted(model, text, ASKED["seed"]), atol=2e-4)
    with on_backend(model.files.image_autoencoder, model.ops) as vae:
        [[picture]] = to_frames(decode(model.ops, vae, saved["picture"], 1))
    assert picture.shape == (*SIZE, 3)
    by_hand = published(folder, "v2.0").generate_from_image(fit(picture, 16, 32), "a cat", num_frames=5, **SMALL)
    np.testing.assert_array_equal(video.frames, by_hand.frames)


def test_a_picture_first_is_the_same_on_torch_block_by_block(folder: Path) -> None:
    video = painter(folder).generate_from_text("a cat", **ASKED)
    model = painter(folder, backend="torch")
    model.offload_type = "block_level"
    assert video.psnr(model.generate_from_text("a cat", **ASKED)) >= 60


def test_a_picture_without_a_clip_is_no_video_and_says_so(folder: Path, tmp_path: Path) -> None:
    file, stop = tmp_path / "latents.safetensors", lambda model, step, timestep, state: step < 3  # in the clip
    with pytest.raises(CancelledError, match=r"latents of the picture .* kept in .*, but no clip was finished"):
        painter(folder).generate_from_text("a cat", latents_file=file, callback_on_step_end=stop, **ASKED)
    with pytest.raises(InvalidInputError, match=r"holds only the picture that t2i2v makes first: .* generate again"):
        decode_latents(file, folder / "vae-v2.0", backend="numpy")


@pytest.mark.parametrize(
    ("without", "options", "words"),
    [
        (("flux",), {}, "t2i2v needs the image denoiser Flux, which is not in .*: give its file or folder beside"),
        (("flux-ae",), {}, "t2i2v needs the autoencoder AutoencoderKL, which is not in"),
        ((), {"references": [IMAGE]}, "makes the first frame itself; to give one, use cond_type='i2v_head'"),
        ((), {"video": Video(np.stack([IMAGE] * 3), 24.0)}, "a video that is continued takes no other references"),
        ((), {"image_resolution": "4k"}, "image_resolution='4k' is not one of 256px"),
        ((), {"cond_type": "i2v_middle"}, "is not one of t2v, i2v_head, .*, t2i2v"),
    ],
)
def test_what_cannot_be_painted_is_said_first(
    folder: Path, without: tuple[str, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        next(painter(folder, *without).stream("a cat", **{**ASKED, **options}))


def test_other_releases_paint_nothing(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"image_resolution='256px' is an option of t2i2v"):
        next(published(folder, "v1.1").stream("a cat", image_resolution="256px"))
    with pytest.raises(InvalidInputError, match="cond_type='t2i2v' is not one of t2v"):
        next(published(folder, "v1.3").stream("a cat", cond_type="t2i2v", num_frames=5, **SMALL))


def test_the_picture_has_nearly_the_proportions_of_the_video() -> None:
    assert [size_v2_like("768px", *size) for size in ((192, 336), (336, 192), (100, 100))] == [
        (576, 1024),
        (1024, 576),
        (768, 768),
    ]
