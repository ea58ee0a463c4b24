"""The autoencoder of v2.0: published names, causality, sizes, and tiles that are blended."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from opensora_core.errors import InvalidInputError
from opensora_core.nn.init import ShapeInit
from opensora_core.releases.autoencoder_shapes import hunyuan
from opensora_core.vae import causal3d, layers
from opensora_core.vae.causal3d import HunyuanVAE, HunyuanVAEConfig
from opensora_core.vae.tiling import Tile, blend, tiled_space, tiled_time
from tests.vae.tiny import HUNYUAN, OPS, filled, shapes, video

KEYS = Path(__file__).parent.parent / "golden" / "keys"


@pytest.fixture(scope="module")
def vae() -> HunyuanVAE:
    return filled(HunyuanVAE.create(HUNYUAN, ShapeInit()))


def test_the_default_size_has_the_published_weights() -> None:
    table = json.loads((KEYS / "hunyuan-vae-v2.0.json").read_text())
    published = {name: tuple(row[:-1]) for name, row in table.items()}
    assert shapes(HunyuanVAE.create(HunyuanVAEConfig(), ShapeInit())) == published
    assert HunyuanVAEConfig(**hunyuan(published)) == HunyuanVAEConfig()


def test_the_official_configuration_is_read_and_another_network_refused() -> None:
    official: dict[str, Any] = {"type": "hunyuan_vae", "from_pretrained": "x", "use_spatial_tiling": True}
    assert HunyuanVAEConfig.from_dict({**official, "time_compression_ratio": 4, "dropout": 0.0}) == HunyuanVAEConfig()
    assert HunyuanVAEConfig.from_dict(json.loads(json.dumps(HUNYUAN.to_dict()))) == HUNYUAN
    with pytest.raises(InvalidInputError, match=r"time_compression_ratio=8 is not the HunyuanVAE of Open-Sora.*has 4"):
        HunyuanVAEConfig.from_dict({"time_compression_ratio": 8})
    with pytest.raises(InvalidInputError, match="must be 4 widths"):
        replace(HUNYUAN, block_out_channels=(4, 4))
    with pytest.raises(InvalidInputError, match="sample_size=20 must be a multiple of 8"):
        replace(HUNYUAN, sample_size=20)


# ---------------------------------------------------------------------- time


def test_no_frame_depends_on_a_later_one_but_through_the_norms(vae: HunyuanVAE) -> None:
    """Group norms see the whole clip; in one without them an image is the first latent of every clip."""
    clip = video(1, 3, 5, 8, 8)
    later = np.concatenate([clip[:, :, :1], -clip[:, :, 1:]], axis=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers.GroupNorm, "__call__", lambda self, ops, x: x)
        patch.setattr(layers.GroupNorm, "silu", lambda self, ops, x: ops.silu(x))
        first = vae.encode(OPS, clip)[:, :, :1]
        assert_allclose(vae.encode(OPS, later)[:, :, :1], first, atol=1e-12)
        assert_allclose(vae.encode(OPS, clip[:, :, :1]), first, atol=1e-12)
        decoded = vae.decode(OPS, vae.encode(OPS, clip))
        assert_allclose(vae.decode(OPS, first), decoded[:, :, :1], atol=1e-12)


def test_sizes_and_numbers_of_frames(vae: HunyuanVAE) -> None:
    assert vae.latent_shape(129, 256, 455) == (2, 33, 32, 57)
    assert vae.frames_of(33) == 129
    latents = vae.encode(OPS, video(2, 3, 5, 12, 8))
    assert latents.shape == (2, 2, 2, 2, 1)
    assert vae.decode(OPS, latents, 5).shape == (2, 3, 5, 16, 8)
    with pytest.raises(InvalidInputError, match=r"num_frames=6 must be 1 \+ 4n; nearest: 5"):
        vae.encode(OPS, video(1, 3, 6, 8, 8))
    with pytest.raises(InvalidInputError, match="num_frames=9 needs 3 latent frames, got 2"):
        vae.decode(OPS, latents, 9)


# ---------------------------------------------------------------------- tiles


@pytest.mark.parametrize("size", [(1, 6, 7), (2, 9, 4), (1, 3, 3)])
def test_tiles_of_a_network_without_neighbours_give_the_whole(size: tuple[int, int, int]) -> None:
    x = video(1, 2, *size)
    assert_allclose(tiled_space(OPS, x, lambda part: 3 * part, Tile(4, 4, 0.25)), 3 * x, rtol=1e-12)


def test_runs_of_frames_give_the_whole() -> None:
    x = video(1, 2, 17, 1, 1)
    assert_allclose(tiled_time(OPS, x, lambda part: part + 1, Tile(8, 8, 0.25)), x + 1, rtol=1e-12)


def test_a_tile_fades_into_the_next_one() -> None:
    zero, one = np.zeros((1, 1, 1, 1, 4)), np.ones((1, 1, 1, 1, 6))
    assert_array_equal(blend(OPS, zero, one, 4, 4)[0, 0, 0, 0], [0, 0.25, 0.5, 0.75, 1, 1])
    assert_array_equal(blend(OPS, zero, one, 4, 8), blend(OPS, zero, one, 4, 4))
    assert blend(OPS, zero, one, 4, 0) is one


def test_no_more_than_a_tile_goes_through_the_network_at_once(vae: HunyuanVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, whole = [], causal3d.run
    monkeypatch.setattr(causal3d, "run", lambda ops, steps, x: seen.append(x.shape[2:]) or whole(ops, steps, x))
    tiled = replace(vae, config=replace(HUNYUAN, use_temporal_tiling=True))
    latents = tiled.encode(OPS, video(1, 3, 13, 24, 16))
    assert set(seen) == {(t, h, w) for t in (9, 7, 1) for h in (16, 12) for w in (16, 4)}
    seen.clear()
    tiled.decode(OPS, latents)
    assert max(t for t, _, _ in seen) == 3
    assert max(max(h, w) for _, h, w in seen) == 2
