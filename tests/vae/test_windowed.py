"""The autoencoder of v1.3: published names, windows that overlap or do not, batches, normalisation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from opensora_core.errors import InvalidInputError
from opensora_core.nn.init import ShapeInit
from opensora_core.releases.autoencoder_shapes import windowed
from opensora_core.vae.attention import causal_attention
from opensora_core.vae.windowed import MEAN, STD, WindowedVAE, WindowedVAEConfig
from tests.vae.tiny import OPS, WINDOWED, filled, shapes, video

KEYS = Path(__file__).parent.parent / "golden" / "keys"


@pytest.fixture(scope="module")
def vae() -> WindowedVAE:
    return filled(WindowedVAE.create(WINDOWED, ShapeInit()))


def test_the_default_size_has_the_published_weights() -> None:
    published = {name: tuple(row[:-1]) for name, row in json.loads((KEYS / "vae-v1.3.json").read_text()).items()}
    assert shapes(WindowedVAE.create(WindowedVAEConfig(), ShapeInit())) == published
    assert WindowedVAEConfig(**windowed(published)) == WindowedVAEConfig()
    assert WindowedVAEConfig.from_dict(json.loads(json.dumps(WINDOWED.to_dict()))) == WINDOWED


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (5, 2), (17, 5), (21, 7), (33, 10), (113, 35)])
def test_every_sixteen_frames_after_the_first_are_five_latents(frames: int, latents: int) -> None:
    vae = WindowedVAE.create(WindowedVAEConfig(), ShapeInit())
    assert vae.latent_shape(frames, 256, 426) == (16, latents, 32, 54)
    assert vae.frames_of(latents) == frames


def test_windows_without_overlap_stand_side_by_side() -> None:
    vae = WindowedVAE.create(replace(WINDOWED, temporal_overlap=False), ShapeInit())
    assert (vae.latent_frames(10), vae.frames_of(4), vae.latent_frames(6), vae.frames_of(3)) == (4, 10, 3, 6)
    whole = WindowedVAE.create(replace(WINDOWED, micro_frame_size=None), ShapeInit())
    assert (whole.latent_frames(33), whole.frames_of(9)) == (9, 33)


def test_the_frame_that_windows_share_is_the_mean_of_both(vae: WindowedVAE) -> None:
    clip = video(1, 3, 9, 8, 8)
    latents = vae.encode(OPS, clip)
    assert latents.shape == (1, 2, 4, 1, 1)
    assert_allclose(latents[:, :, 2:], vae.encode(OPS, clip[:, :, 4:]), atol=1e-12)
    first, second = vae.decode(OPS, latents[:, :, :2]), vae.decode(OPS, latents[:, :, 2:])
    decoded = vae.decode(OPS, latents, 9)
    assert_allclose(decoded[:, :, :4], first[:, :, :4], atol=1e-12)
    assert_allclose(decoded[:, :, 4], (first[:, :, 4] + second[:, :, 0]) / 2, atol=1e-12)
    assert_allclose(decoded[:, :, 5:], second[:, :, 1:], atol=1e-12)


def test_numbers_are_drawn_per_window_of_each_micro_batch(vae: WindowedVAE) -> None:
    drawn = []

    def draw(shape: Sequence[int]) -> Any:
        drawn.append(tuple(shape))
        return np.zeros(shape)

    clip = video(2, 3, 9, 8, 8)
    sampled = vae.encode(OPS, clip, draw)
    assert drawn == [(1, 2, 2, 1, 1)] * 4
    assert_allclose(sampled, vae.encode(OPS, clip), atol=1e-12)
    together = replace(vae, config=replace(WINDOWED, micro_batch_size=None))
    assert_allclose(together.encode(OPS, clip), sampled, atol=1e-12)


def test_normalised_latents_have_the_published_mean_and_spread_taken_out() -> None:
    plain = filled(WindowedVAE.create(replace(WINDOWED, z_channels=16), ShapeInit()))
    normed = replace(plain, config=replace(plain.config, normalization="video"))
    clip = video(1, 3, 1, 8, 8)
    z, expected = normed.encode(OPS, clip), plain.encode(OPS, clip)
    assert_allclose(z[0, :, 0, 0, 0] * STD + MEAN, expected[0, :, 0, 0, 0], rtol=1e-12)
    assert_allclose(normed.decode(OPS, z), plain.decode(OPS, expected), atol=1e-12)


def test_a_cell_attends_to_itself_and_those_before_it() -> None:
    q, k, v = (video(1, 1, 1, 6, 4)[0, 0] + i for i in range(3))
    by_frame, by_cell = (causal_attention(OPS, q, k, v, 3, by_token=b) for b in (False, True))
    for n in range(6):
        for found, stop in ((by_cell, n + 1), (by_frame, 3 * (n // 3) + 3)):
            alone = OPS.attention(q[:, n : n + 1], k[:, :stop], v[:, :stop])
            assert_allclose(found[:, n : n + 1], alone, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(WINDOWED, micro_frame_size=16), r"micro_frame_size=16 must be 1 \+ 4n, such as 17"),
        (lambda: replace(WINDOWED, normalization="image"), 'must be "video" or None'),
        (lambda: replace(WINDOWED, normalization="video"), "z_channels=2 must be 16 to be normalised"),
        (lambda: replace(WINDOWED, ch_mult=(1, 2)), "must be 4 multiples of ch"),
    ],
)
def test_impossible_sizes_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_numbers_of_frames_of_which_some_would_be_lost_are_refused(vae: WindowedVAE) -> None:
    with pytest.raises(InvalidInputError, match=r"num_frames=8 must be 1 \+ 4n; nearest: 9"):
        vae.encode(OPS, video(1, 3, 8, 8, 8))
    with pytest.raises(InvalidInputError, match="num_frames=5 needs 2 latent frames, got 4"):
        vae.decode(OPS, video(1, 2, 4, 1, 1), 5)
