"""The two layouts of MMDiT hold the same network; what a layout needs and is not given is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opensora_core import get_backend
from opensora_core.dit.mmdit import MMDiT
from opensora_core.dit.mmdit_config import MMDiTConfig
from opensora_core.dit.mmdit_layers import pack, unpack
from opensora_core.errors import InvalidInputError
from opensora_core.module import rebuild, state_dict
from opensora_core.nn.init import RandomInit, ShapeInit

OPS = get_backend("numpy", dtype="float64")
SIZES = {
    "in_channels": 8, "vec_in_dim": 6, "context_in_dim": 10, "hidden_size": 24, "num_heads": 2,
    "depth": 1, "depth_single_blocks": 1, "axes_dim": (4, 4, 4), "mlp_ratio": 2.0,
}  # fmt: skip
FLUX = MMDiTConfig.flux(**SIZES, qkv_bias=True)
C, D, GRID = 24, 12, (2, 2, 3)


def random_flux() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = state_dict(MMDiT.create(FLUX, ShapeInit()))
    return {name: 0.3 * rng.standard_normal(w.shape) for name, w in shapes.items()}


def released(flux: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights in the layout of v2.0: projections apart, of each head's channels the even ones first."""
    halves = np.concatenate([np.arange(0, D, 2), np.arange(1, D, 2)])
    rows = np.concatenate([halves, D + halves])
    found = {}
    for name, w in flux.items():
        stem, _, leaf = name.rpartition(".")
        if ".qkv." in name:
            for letter, part in zip("qkv", np.split(w, 3), strict=True):
                found[f"{stem[:-3]}{letter}_proj.{leaf}"] = part if letter == "v" else part[rows]
        elif ".linear1." in name:
            q, k, rest = np.split(w, [C, 2 * C])
            base = stem.removesuffix("linear1")
            found |= {f"{base}q_proj.{leaf}": q[rows], f"{base}k_proj.{leaf}": k[rows], f"{base}v_mlp.{leaf}": rest}
        else:
            found[name] = w[halves] if "_norm.scale" in name else w
    return found


def inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = (2, 12, 8), (2, 5, 10), (2, 6)
    x, txt, vec = (rng.standard_normal(shape) for shape in shapes)
    return [x, np.array([0.2, 0.9]), txt, vec]


def test_both_layouts_are_the_same_network() -> None:
    weights = random_flux()
    flux = rebuild(MMDiT.create(FLUX, ShapeInit()), weights)
    config = replace(FLUX, fused_qkv=False, use_liger_rope=True)
    other = rebuild(MMDiT.create(config, ShapeInit()), released(weights))
    guidance = np.array([1.0, 4.0])
    expected = flux(OPS, *inputs(), None, GRID, guidance)
    np.testing.assert_allclose(other(OPS, *inputs(), None, GRID, guidance), expected, rtol=0, atol=1e-11)
    assert np.abs(expected - flux(OPS, *inputs(), None, GRID, 2 * guidance)).max() > 1e-3


def test_what_a_layout_needs_is_named() -> None:
    with pytest.raises(InvalidInputError, match="guidance is None; an MMDiT with guidance_embed needs it"):
        MMDiT.create(FLUX, RandomInit(0))(OPS, *inputs(), None, GRID)
    with pytest.raises(InvalidInputError, match="cond is None; an MMDiT with cond_embed needs it"):
        MMDiT.create(MMDiTConfig(**SIZES), RandomInit(0))(OPS, *inputs(), None, GRID)


def test_the_axes_make_up_a_head() -> None:
    with pytest.raises(InvalidInputError, match=r"axes_dim=\(4, 4, 2\) must be even and sum to the 12 channels"):
        MMDiTConfig(**{**SIZES, "axes_dim": (4, 4, 2)})


@pytest.mark.parametrize("patch", [1, 2])
def test_unpack_undoes_pack(patch: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 4, 6))
    packed = pack(OPS, x, patch)
    assert packed.shape == (2, 2 * 24 // patch**2, 3 * patch**2)
    np.testing.assert_array_equal(unpack(OPS, packed, (2, 4 // patch, 6 // patch), patch), x)
