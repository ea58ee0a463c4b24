"""A denoiser with smaller patches begins where the one with larger patches stands."""

from dataclasses import replace

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.errors import InvalidInputError
from opensora_core.module import rebuild, state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.training.repatch import EMBEDDING, OUTPUT, repatched
from tests.pipelines.models import NANO

OLD = replace(NANO.denoiser, patch_size=(1, 2, 4))
OPS = NumpyOps(dtype="float64")


def denoiser(config):
    return STDiT3.create(config, RandomInit(0))


def repeated(rng, old, new):
    """Latents [1, C, 2, 4, 8] that repeat, within every old patch, the cells of a new one."""
    cells = rng.standard_normal((1, OLD.in_channels, 2, 4, 8))
    for axis, (p, q) in enumerate(zip(old, new, strict=True), start=2):
        i = np.arange(cells.shape[axis])
        cells = cells.take(i // p * p + i % p % q, axis=axis)
    return cells


@pytest.mark.parametrize("patch", [(1, 2, 4), (1, 2, 2), (1, 1, 2), (1, 1, 1), (1, 2, 1)])
def test_repeated_cells_are_embedded_as_before(patch):
    weights = state_dict(denoiser(OLD))
    new = replace(OLD, patch_size=patch)
    made = rebuild(denoiser(new), repatched(weights, OLD, new))
    x = repeated(np.random.default_rng(0), OLD.patch_size, patch)
    coarse = denoiser(OLD).x_embedder.proj(OPS, x).reshape(1, 2, 2, 2, -1)  # (B, T, h, w, C)
    fine = made.x_embedder.proj(OPS, x).reshape(1, 2, 4 // patch[1], 8 // patch[2], -1)
    for row, column in np.ndindex(2 // patch[1], 4 // patch[2]):
        np.testing.assert_allclose(fine[:, :, row :: 2 // patch[1], column :: 4 // patch[2]], coarse, atol=1e-6)


def test_the_output_is_the_average_over_what_became_one_place():
    rng, new = np.random.default_rng(0), replace(OLD, patch_size=(1, 1, 2))
    weights = {name: rng.standard_normal(w.shape) for name, w in state_dict(denoiser(OLD)).items()}
    made = repatched(weights, OLD, new)
    for name in OUTPUT:
        old = weights[name].reshape(2, 2, 2, OLD.out_channels, -1)  # (ph, blocks across, pw', out, C or 1)
        np.testing.assert_allclose(made[name].reshape(2, OLD.out_channels, -1), old.mean((0, 1)))
    assert {n for n in made if made[n] is not weights[n]} == {EMBEDDING, *OUTPUT}


def test_patches_that_do_not_divide_are_refused():
    with pytest.raises(InvalidInputError, match=r"patches \(1, 2, 4\) cannot begin one of patches \(1, 4, 4\)"):
        repatched(state_dict(denoiser(OLD)), OLD, replace(OLD, patch_size=(1, 4, 4)))
