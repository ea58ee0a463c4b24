"""Gaussian diffusion: its steps and tables, three samplers on a distribution whose score is known, and the losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.random import normal
from opensora_core.schedulers.ancestral import ancestral, guided_noise
from opensora_core.schedulers.ddim import ddim
from opensora_core.schedulers.diffusion import DiffusionTables, diffuse, spaced_steps, way_back
from opensora_core.schedulers.diffusion_loss import diffusion_input, diffusion_loss, grey_log_likelihood
from opensora_core.schedulers.dpm_solver import dpm_solver, levels
from opensora_core.verify import GoldenSet

Array = NDArray[Any]
SHAPE = (2, 3, 4, 2, 4)  # (B, C, T, H, W)
OPS = get_backend("numpy", device="cpu", dtype="float64")
FULL = DiffusionTables.spaced()
GOLDEN = Path(__file__).parent.parent / "golden"


def latents(stream: str, shape: tuple[int, ...] = SHAPE) -> Array:
    x = normal(0, stream, 0, shape).astype(np.float64)
    x.flags.writeable = False
    return x


def with_variance(noise: Array, v: float = -1.0) -> Array:
    return np.concatenate([noise, np.full_like(noise, v)], axis=1)


def toward(data: Array) -> Callable[..., Array]:
    """The exact network of a distribution that is one point: the noise that leads from it to z."""

    def predict(z: Array, t: float, x_mask: Array | None) -> Array:
        level = FULL.alphas_cumprod[int(t)]
        return with_variance((z - level**0.5 * data) / (1 - level) ** 0.5)

    return predict


def last(steps: Any) -> Any:
    return list(steps)[-1]


# ---------------------------------------------------------------------- steps and tables


@pytest.mark.parametrize("release", ["v1.0", "v1.1"])
def test_tables_are_the_official_ones_in_every_entry(release: str) -> None:
    golden = GoldenSet.load(GOLDEN / f"iddpm_tables_{release}.json")
    for name, case in golden.cases.items():
        tables = DiffusionTables.spaced(case.args["respacing"], "float64" if release == "v1.0" else "float32")
        for output in case.outputs:
            recorded = golden.tensor(f"{name}/out/{output}")
            got = getattr(tables, output)
            assert got.dtype == recorded.dtype
            np.testing.assert_allclose(got, recorded, rtol=1e-12 if release == "v1.0" else 3e-7)


def test_spacings_that_cannot_be_are_refused() -> None:
    for spacing in ("1001", "0", "600,600", "ten", "10,", "-5", "ddim", "ddim999", "ddim-2", "ddim0"):
        with pytest.raises(InvalidInputError, match=f"spacing '{spacing}'"):
            spaced_steps(spacing)
    with pytest.raises(InvalidInputError, match="leaves a single step"):
        DiffusionTables.spaced("1")


def test_uneven_sections_cover_all_steps() -> None:
    assert spaced_steps("4,3,3", 10) == list(range(10))
    assert spaced_steps("2,1", 5) == [0, 2, 3]


def test_the_way_back_inverts_the_noise_and_its_variance_lies_between_its_bounds() -> None:
    x0, noise, steps = latents("x0"), latents("noise"), np.array([17, 640])
    x = diffuse(OPS, FULL, x0, noise, steps)
    for v, log_variance in ((-1.0, FULL.posterior_log_variance_clipped), (1.0, np.log(FULL.betas))):
        back = way_back(OPS, FULL, with_variance(noise, v), x, steps)
        np.testing.assert_allclose(back.x0, x0, atol=1e-9)
        np.testing.assert_allclose(back.log_variance[:, 0, 0, 0, 0], log_variance[steps])


# ---------------------------------------------------------------------- samplers


def test_every_sampler_ends_at_a_distribution_of_one_point() -> None:
    data, z, tables = latents("data"), latents("z"), DiffusionTables.spaced("12")
    noise = lambda i: latents(f"noise{i}")  # noqa: E731
    # The last step of all three leaves the noise of step 0, a share of 0.01 of deviation at most.
    for steps in (
        ancestral(OPS, toward(data), z, tables, noise),
        ddim(OPS, toward(data), z, tables),
        ddim(OPS, toward(data), z, tables, 0.7, noise),
    ):
        np.testing.assert_allclose(last(steps).latents, data, atol=1e-9)


def gaussian(deviation: float) -> Callable[[float], Callable[..., Array]]:
    """The exact noise of data ~ N(0, deviation²), given ᾱ."""

    def of_level(level: float) -> Callable[..., Array]:
        return lambda z: with_variance((1 - level) ** 0.5 / (level * deviation**2 + 1 - level) * z)

    return of_level


def test_ddim_is_of_first_and_dpm_solver_of_second_order() -> None:
    z, of_level = latents("z"), gaussian(0.5)
    path = {level.time: level.alpha**2 for n in (25, 50, 100, 400) for level in levels(n)}
    times, values = np.array(sorted(path)), np.array([path[t] for t in sorted(path)])

    def predict_at(z: Array, t: float, x_mask: Array | None) -> Array:
        return of_level(float(values[np.argmin(np.abs(times - (t / 1000 + 0.001)))]))(z)

    def deviation(level: float) -> float:
        return float((level * 0.25 + 1 - level) ** 0.5)

    # On the ODE of a Gaussian z keeps its place among its deviations.
    end = z / deviation(path[1.0]) * deviation(path[min(path)])
    errors = [np.abs(last(dpm_solver(OPS, predict_at, z, n)).latents - end).max() for n in (25, 50, 100)]
    np.testing.assert_allclose(np.log2([errors[0] / errors[1], errors[1] / errors[2]]), 2.0, atol=0.35)

    def predict(z: Array, t: float, x_mask: Array | None) -> Array:
        return of_level(FULL.alphas_cumprod[int(t)])(z)

    end = z / deviation(FULL.alphas_cumprod[999]) * 0.5
    errors = [np.abs(last(ddim(OPS, predict, z, DiffusionTables.spaced(n))).latents - end).max() for n in ("50", "100")]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.25)


def test_guidance_changes_the_named_channels_only() -> None:
    both = latents("both", (4, 6, 4, 2, 4))
    out = guided_noise(OPS, lambda z, t, x_mask: both, 4.0, channels=2)(latents("z"), 3.0, None)
    np.testing.assert_allclose(out[:, :2], both[2:, :2] + 4.0 * (both[:2, :2] - both[2:, :2]))
    np.testing.assert_array_equal(out[:, 2:], both[:2, 2:])


def test_frames_of_a_mask_stay_until_their_step_and_enter_with_noise() -> None:
    z, tables = latents("z"), DiffusionTables.spaced("8")
    mask = np.array([[0, 1, 0.5, 1], [1, 1, 1, 1]])
    seen: list[tuple[Array, Array]] = []

    def predict(z: Array, t: float, x_mask: Array | None) -> Array:
        assert x_mask is not None
        seen.append((z, x_mask))
        return with_variance(z)

    drawn: list[int] = []

    def entering(i: int) -> Array:
        drawn.append(i)
        return latents("entering")

    steps = list(ancestral(OPS, predict, z, tables, lambda i: latents(f"noise{i}"), mask, entering))
    assert drawn == [3, 7]  # step 4 = 0.5 · 8 counted from data is the fourth call; mask 0 enters in the last
    for i, step in enumerate(steps[:7]):
        np.testing.assert_array_equal(step.latents[0, :, 0], z[0, :, 0])
        assert (step.latents[0, :, 2] == z[0, :, 2]).all() == (i < 3)
    np.testing.assert_array_equal(seen[3][1], [[False, True, False, True], [True] * 4])
    level = tables.alphas_cumprod[4]
    np.testing.assert_allclose(
        seen[3][0][0, :, 2], level**0.5 * z[0, :, 2] + (1 - level) ** 0.5 * latents("entering")[0, :, 2]
    )
    with pytest.raises(InvalidInputError, match="frames enter at step 4 by the mask: give `entering`"):
        list(ancestral(OPS, predict, z, tables, lambda i: z, mask))


def test_what_samplers_cannot_do_is_refused() -> None:
    z, tables = latents("z"), DiffusionTables.spaced("8")
    for eta in (-0.1, 1.5):
        with pytest.raises(InvalidInputError, match=f"eta={eta} must lie between 0"):
            list(ddim(OPS, toward(z), z, tables, eta))
    with pytest.raises(InvalidInputError, match=r"eta=0.5 adds noise in every step"):
        list(ddim(OPS, toward(z), z, tables, 0.5))
    with pytest.raises(InvalidInputError, match="num_steps=1 must be at least 2"):
        list(dpm_solver(OPS, toward(z), z, 1))


# ---------------------------------------------------------------------- losses


def test_the_bound_vanishes_for_the_true_posterior_and_only_masked_frames_count() -> None:
    x0, noise, steps = latents("x0") * 0.3, latents("noise"), np.array([300, 700])
    mask = np.array([[1, 0, 1, 1], [0, 0, 0, 1]], bool)
    x_t = diffusion_input(OPS, FULL, x0, noise, steps, mask)
    wrong = np.moveaxis(with_variance(noise).copy(), 2, 1)
    wrong[~mask] = 99.0
    output = np.moveaxis(wrong, 1, 2)
    losses = diffusion_loss(OPS, FULL, output, x_t, x0, noise, steps, mask)
    np.testing.assert_allclose(losses.mse, 0, atol=1e-20)
    np.testing.assert_allclose(losses.vb, 0, atol=1e-9)
    np.testing.assert_array_equal(losses.loss, losses.mse + losses.vb)


def test_the_grey_levels_of_a_gaussian_have_probabilities_that_sum_to_one() -> None:
    greys = np.linspace(-1, 1, 256)
    for mean, scale in ((0.1, 0.05), (-0.97, 0.2)):
        p = np.exp(grey_log_likelihood(OPS, greys, np.full(256, mean), np.full(256, np.log(scale))))
        assert p.sum() == pytest.approx(1.0, abs=1e-6)
