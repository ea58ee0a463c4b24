"""STDiT3: what its shapes, masks, caches and configuration promise, beyond the golden numbers."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from opensora_core import Ops, get_backend
from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.errors import InvalidInputError
from opensora_core.module import num_parameters, state_dict, to_backend, tree_map
from opensora_core.nn.init import RandomInit, ShapeInit
from opensora_core.random import generator, normal

Array = NDArray[Any]
KEYS = Path(__file__).parent.parent / "golden" / "keys"
TINY = STDiT3Config(
    in_channels=3,
    hidden_size=16,
    depth=2,
    num_heads=2,
    caption_channels=6,
    model_max_length=5,
    frame_time_fps=None,
)
OPS = get_backend("numpy", device="cpu", dtype="float64")
BACKENDS = [
    "numpy",
    pytest.param(
        "torch", marks=pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
    ),
]


def tiny(config: STDiT3Config = TINY, ops: Ops = OPS, std: float = 0.2) -> STDiT3:
    """A model whose every weight counts: official initialisation leaves many at zero."""
    rng = generator(0, "weights")
    model = STDiT3.create(config, ShapeInit())
    return to_backend(ops, replace(tree_map(lambda w: rng.normal(0, std, w.shape), model), rope=model.rope))


def latents(*shape: int) -> Array:
    return normal(0, "x", 0, shape).astype(np.float64)


def text(batch: int) -> Array:
    return normal(0, "y", 0, (batch, 1, 5, 6)).astype(np.float64)


def run(model: STDiT3, x: Array, y: Array | None = None, mask: Array | None = None, **kwargs: Any) -> Array:
    B = x.shape[0]
    t = np.linspace(100.0, 900.0, B)
    arguments = {"fps": np.array([24.0]), "height": 48, "width": 80, **kwargs}
    result: Array = model(OPS, x, t, text(B) if y is None else y, mask, **arguments)
    return result


# ---------------------------------------------------------------------- space and time of any size


@pytest.mark.parametrize("patch", [(1, 2, 2), (2, 2, 2), (2, 1, 3)])
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 5, 7), (4, 4, 6)])
def test_odd_sizes_are_padded_with_zeros_at_the_end_and_cropped_back(
    patch: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    model, x = tiny(replace(TINY, patch_size=patch)), latents(2, 3, *size)
    padded = np.pad(x, [(0, 0), (0, 0), *((0, -n % p) for n, p in zip(size, patch, strict=True))])
    out = run(model, x)
    assert out.shape == (2, 6, *size)
    np.testing.assert_array_equal(out, run(model, padded)[:, :, : size[0], : size[1], : size[2]])


def test_the_place_of_a_patch_depends_on_the_size_in_pixels_but_a_batch_does_not_mix() -> None:
    model, x = tiny(), latents(3, 3, 2, 4, 4)
    assert not np.allclose(run(model, x), run(model, x, height=480, width=800))
    changed = x.copy()
    changed[1] += 1
    np.testing.assert_array_equal(run(model, changed)[[0, 2]], run(model, x)[[0, 2]])


def test_without_sigma_there_are_as_many_channels_out_as_in() -> None:
    assert run(tiny(replace(TINY, pred_sigma=False, qk_norm=False)), latents(1, 3, 2, 4, 4)).shape == (1, 3, 2, 4, 4)


# ---------------------------------------------------------------------- text


def test_a_mask_of_fewer_rows_is_tiled_whole() -> None:
    model, x, mask = tiny(), latents(4, 3, 2, 4, 4), np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    np.testing.assert_array_equal(run(model, x, mask=mask), run(model, x, mask=np.concatenate([mask, mask])))


def test_masked_tokens_do_not_matter_and_no_mask_means_all_of_them() -> None:
    model, x, y = tiny(), latents(2, 3, 2, 4, 4), text(2)
    mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    changed = y.copy()
    changed[0, :, 2:] = 1e3
    np.testing.assert_array_equal(run(model, x, changed, mask), run(model, x, y, mask))
    np.testing.assert_allclose(run(model, x, y), run(model, x, y, np.ones((2, 5))), rtol=1e-12)
    assert np.isfinite(run(model, x, y, np.zeros((2, 5)))).all()


def test_a_mask_that_cannot_be_tiled_is_refused() -> None:
    for rows in (2, 4):
        with pytest.raises(InvalidInputError, match=f"mask of {rows} rows cannot be tiled to the 3 rows"):
            run(tiny(), latents(3, 3, 1, 4, 4), mask=np.ones((rows, 5)))


def test_text_encoded_once_gives_the_same_at_every_step() -> None:
    model, x, y, mask = tiny(), latents(2, 3, 2, 4, 4), text(2), np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    context = model.encode_text(OPS, y, mask)
    for t in (np.array([900.0, 900.0]), np.array([20.0, 500.0])):
        once = model.denoise(OPS, x, t, context, None, np.array([24.0]), 48, 80)
        np.testing.assert_array_equal(once, model(OPS, x, t, y, mask, None, np.array([24.0]), 48, 80))


# ---------------------------------------------------------------------- given frames


def test_frames_that_are_all_noised_are_as_without_a_mask_and_given_ones_are_not() -> None:
    model, x = tiny(), latents(2, 3, 3, 4, 4)
    np.testing.assert_array_equal(run(model, x, x_mask=np.ones((2, 3), bool)), run(model, x))
    x_mask = np.array([[True, True, True], [False, True, True]])
    out = run(model, x, x_mask=x_mask)
    np.testing.assert_array_equal(out[0], run(model, x)[0])
    assert not np.allclose(out[1], run(model, x)[1])


# ---------------------------------------------------------------------- the two extensions


def test_identical_frames_stay_identical_unless_frames_know_their_time() -> None:
    x = np.repeat(latents(1, 3, 1, 4, 4), 4, axis=2)
    plain = run(tiny(), x)
    np.testing.assert_allclose(plain, np.repeat(plain[:, :, :1], 4, axis=2), rtol=1e-9, atol=1e-9)
    timed = run(tiny(replace(TINY, frame_time_fps=8.0)), x)
    assert all(np.abs(timed[:, :, i] - timed[:, :, 0]).max() > 1e-2 for i in (1, 2, 3))


def test_the_time_of_a_frame_counts_in_seconds() -> None:
    model, x = tiny(replace(TINY, frame_time_fps=8.0)), latents(1, 3, 3, 4, 4)
    twice = tiny(replace(TINY, frame_time_fps=16.0))
    model, twice = (replace(m, fps_embedder=tree_map(np.zeros_like, m.fps_embedder)) for m in (model, twice))
    np.testing.assert_allclose(run(model, x, fps=np.array([8.0])), run(twice, x, fps=np.array([16.0])), rtol=1e-12)
    assert not np.allclose(run(model, x, fps=np.array([8.0])), run(model, x, fps=np.array([16.0])))


def test_a_pooled_caption_is_the_mean_of_the_tokens_of_the_prompt() -> None:
    model, y = tiny(replace(TINY, pooled_caption=True)), text(2)
    mask = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    pooled = model.encode_text(OPS, y, mask).pooled
    alone = model.encode_text(OPS, np.repeat(y[:1, :, :2].mean(axis=2, keepdims=True), 2, axis=2)).pooled
    np.testing.assert_allclose(pooled[0], alone[0], rtol=1e-12)
    np.testing.assert_allclose(pooled[1], model.encode_text(OPS, 0 * y).pooled[1], rtol=1e-12)  # no prompt: zero


def test_extensions_add_only_their_own_weights() -> None:
    plain = state_dict(STDiT3.create(TINY, ShapeInit()))
    timed = state_dict(STDiT3.create(replace(TINY, frame_time_fps=8.0), ShapeInit()))
    pooled = state_dict(STDiT3.create(replace(TINY, pooled_caption=True), ShapeInit()))
    assert list(timed) == list(plain)
    added = pooled.keys() - plain.keys()
    assert added == {f"pool_embedder.{i}.{name}" for i in (0, 2) for name in ("weight", "bias")}


# ---------------------------------------------------------------------- published sizes


@pytest.mark.parametrize(
    ("table", "size"),
    [("stdit3-xl2-v1.2", {}), ("stdit3-3b2-v1.2", {"hidden_size": 1872, "num_heads": 26})],
)
def test_full_size_models_have_the_published_weights_and_take_no_memory(table: str, size: dict[str, int]) -> None:
    published = {name: tuple(entry[:-1]) for name, entry in json.loads((KEYS / f"{table}.json").read_text()).items()}
    model = STDiT3.create(STDiT3Config(**size), ShapeInit())
    weights = state_dict(model)
    assert {name: w.shape for name, w in weights.items()} == published
    assert num_parameters(model) == sum(int(np.prod(shape)) for shape in published.values())
    assert all(set(w.strides) == {0} for name, w in weights.items() if name != "rope.freqs")


def test_a_model_starts_as_published_temporal_blocks_and_frame_rate_silent() -> None:
    weights = state_dict(STDiT3.create(TINY, RandomInit(3)))
    silent = ("attn.proj.weight", "cross_attn.proj.weight", "mlp.fc2.weight")
    for name, w in weights.items():
        assert w.dtype == np.float32
        zero = name.endswith(".bias") or name == "fps_embedder.mlp.2.weight"
        zero = zero or (name.startswith("temporal_blocks.") and name.endswith(silent))
        assert np.any(w) != zero, name
    assert all(np.array_equal(w, state_dict(STDiT3.create(TINY, RandomInit(3)))[k]) for k, w in weights.items())


# ---------------------------------------------------------------------- half precision


def test_a_video_of_unknown_size_is_refused_since_places_would_be_nan() -> None:
    with pytest.raises(InvalidInputError, match="height=0 and width=80 must be the video's size in pixels"):
        run(tiny(), latents(1, 3, 1, 4, 4), height=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("extensions", [False, True])
def test_half_precision_stays_finite_and_near(backend: str, dtype: str, extensions: bool) -> None:
    config = replace(TINY, frame_time_fps=8.0, pooled_caption=True) if extensions else TINY
    ops = get_backend(backend, device="cpu", dtype=dtype)
    x, t, x_mask = latents(2, 3, 3, 4, 5), np.array([896.0, 128.0]), np.array([[True, True, True], [False, True, True]])
    mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    exact = tiny(config)(OPS, x, t, text(2), mask, x_mask, np.array([24.0]), 48, 80)
    inputs = [ops.asarray(a.astype(np.float32)) for a in (x, t, text(2))]
    masks = ops.asarray(mask), ops.asarray(x_mask), ops.asarray(np.float32([24.0]))
    out = ops.to_numpy(tiny(config, ops)(ops, *inputs, *masks, 48, 80))
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    error = np.linalg.norm(out - exact) / np.linalg.norm(exact)
    assert error < (0.05 if dtype == "bfloat16" else 0.01)


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 0}, "depth=0 must be a whole number of at least 1"),
        ({"hidden_size": "1152"}, "hidden_size='1152' must be a whole number"),
        ({"model_max_length": 0}, "model_max_length=0"),
        ({"patch_size": 2}, "patch_size=2 must be three sizes"),
        ({"patch_size": (1, 2)}, r"patch_size=\(1, 2\) must be three sizes"),
        ({"patch_size": (0, 2, 2)}, "three sizes of at least 1"),
        ({"hidden_size": 100, "num_heads": 8}, "hidden_size=100 must be a multiple of 4 and of num_heads=8"),
        ({"hidden_size": 12, "num_heads": 4}, "even size per head"),
        ({"mlp_ratio": 0}, "mlp_ratio=0 must be a number above 0"),
        ({"class_dropout_prob": 1.5}, "class_dropout_prob=1.5 must be a number between 0 and 1"),
        ({"frame_time_fps": -1.0}, "frame_time_fps=-1.0 must be a number above 0, or None"),
    ],
)
def test_impossible_sizes_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        STDiT3Config(**values)


def test_a_config_comes_back_from_json_and_published_extras_are_ignored() -> None:
    config = replace(TINY, patch_size=(2, 2, 2), frame_time_fps=8.0)
    assert STDiT3Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    extras = {"model_type": "STDiT3", "architectures": ["STDiT3"], "enable_flash_attn": True, "input_size": [None] * 3}
    assert STDiT3Config.from_dict({**config.to_dict(), **extras}) == config


def test_an_unknown_field_is_an_error_because_it_may_change_the_numbers() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown STDiT3 config fields \['kernel_size'\]; known: .*'depth'"):
        STDiT3Config.from_dict({**TINY.to_dict(), "kernel_size": [8, 8, -1]})
