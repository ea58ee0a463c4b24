"""Denoisers that begin from PixArt: what it knows is taken over, what concerns time is new and does nothing yet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from opensora_core.cli.app import app
from opensora_core.dit.stdit2 import VideoSize
from opensora_core.errors import InvalidInputError, WeightsError
from opensora_core.module import rebuild
from opensora_core.nn.init import ShapeInit
from opensora_core.registry import get_backend
from opensora_core.releases.checkpoint import open_checkpoint
from opensora_core.releases.loading import load_published
from opensora_core.releases.pixart import start_from_pixart
from opensora_core.serialization.writer import write_safetensors

OPS = get_backend("numpy", dtype="float32")
C, L, DEPTH = 144, 12, 2


def pixart() -> dict[str, np.ndarray]:
    """A small PixArt with the names and shapes of the official one."""
    shapes = {
        "pos_embed": (1, 16, C), "x_embedder.proj.weight": (C, 4, 2, 2), "x_embedder.proj.bias": (C,),
        "t_block.1.weight": (6 * C, C), "t_block.1.bias": (6 * C,), "y_embedder.y_embedding": (L, 8),
        "y_embedder.y_proj.fc1.weight": (C, 8), "y_embedder.y_proj.fc1.bias": (C,),
        "y_embedder.y_proj.fc2.weight": (C, C), "y_embedder.y_proj.fc2.bias": (C,),
        "final_layer.linear.weight": (32, C), "final_layer.linear.bias": (32,), "final_layer.scale_shift_table": (2, C),
    }  # fmt: skip
    widths = {"t_embedder": C, "csize_embedder": C // 3, "ar_embedder": C // 3}
    for name, width in widths.items():
        shapes |= {f"{name}.mlp.0.weight": (width, 256), f"{name}.mlp.2.weight": (width, width)}
        shapes |= {f"{name}.mlp.{i}.bias": (width,) for i in (0, 2)}
    linear = {
        "attn.qkv": (3 * C, C), "attn.proj": (C, C), "cross_attn.q_linear": (C, C), "cross_attn.kv_linear": (2 * C, C),
        "cross_attn.proj": (C, C), "mlp.fc1": (4 * C, C), "mlp.fc2": (C, 4 * C),
    }  # fmt: skip
    for i in range(DEPTH):
        shapes[f"blocks.{i}.scale_shift_table"] = (6, C)
        shapes |= {f"blocks.{i}.{name}.weight": shape for name, shape in linear.items()}
        shapes |= {f"blocks.{i}.{name}.bias": shape[:1] for name, shape in linear.items()}
    rng = np.random.default_rng(0)
    return {name: (0.1 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(("release", "length"), [("v1.0", 120), ("v1.1", 200), ("v1.2", 300)])
def test_what_pixart_knows_is_taken_over_and_the_rest_is_listed(release: str, length: int, tmp_path: Path) -> None:
    own = pixart()
    start = start_from_pixart(own, release, "PixArt")
    assert start.config.num_heads == 2
    prefix = "spatial_" if release == "v1.2" else ""
    for name in ("blocks.1.attn.qkv.weight", "blocks.0.mlp.fc2.bias", "blocks.0.scale_shift_table"):
        np.testing.assert_array_equal(start.weights[prefix + name], own[name])
    assert start.weights["x_embedder.proj.weight"].shape == (C, 4, 1, 2, 2)
    null = start.weights["y_embedder.y_embedding"]
    np.testing.assert_array_equal(null, own["y_embedder.y_embedding"][np.minimum(np.arange(length), L - 1)])
    sizes = {name for name in own if name.startswith(("csize", "ar_"))}
    assert set(start.dropped) == {"pos_embed", *(() if release == "v1.1" else sizes)}
    concerns = ("temp", "fps_embedder", "fl_embedder", "rope", "_norm")
    assert start.new
    assert all(any(word in name for word in concerns) for name in start.new), start.new
    write_safetensors(tmp_path / "model.safetensors", dict(start.weights))
    assert load_published(tmp_path, OPS).architecture.release == release


@pytest.mark.parametrize("release", ["v1.0", "v1.1", "v1.2"])
def test_new_parts_do_nothing_before_they_are_trained(release: str) -> None:
    start = start_from_pixart(pixart(), release, "PixArt")
    ends = ("attn_temp.proj",) if release != "v1.2" else ("attn.proj", "cross_attn.proj", "mlp.fc2")
    blocks = "temporal_blocks" if release == "v1.2" else "blocks"
    for i in range(DEPTH):
        for end in ends:
            assert not start.weights[f"{blocks}.{i}.{end}.weight"].any()
            assert not start.weights[f"{blocks}.{i}.{end}.bias"].any()
    assert start.weights[f"{blocks}.0.{'attn' if release == 'v1.2' else 'attn_temp'}.qkv.weight"].any()


def test_a_video_that_stands_still_is_what_each_frame_is_alone() -> None:
    start = start_from_pixart(pixart(), "v1.2", "PixArt")
    model = rebuild(start.architecture.create(start.config, ShapeInit()), start.weights)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((1, 4, 1, 4, 4)).astype("f4"), rng.standard_normal((1, 1, 300, 8)).astype("f4")
    image = model(OPS, x, np.float32([400]), y, height=32, width=32)
    still = model(OPS, np.repeat(x, 3, axis=2), np.float32([400]), y, height=32, width=32)
    np.testing.assert_allclose(still, np.repeat(image, 3, axis=2), atol=1e-5)


def test_frame_rate_and_length_change_nothing_of_v1_1_before_it_is_trained() -> None:
    start = start_from_pixart(pixart(), "v1.1", "PixArt")
    assert all(start.weights[f"{name}_embedder.mlp.2.weight"].any() for name in ("fps", "fl"))
    model = rebuild(start.architecture.create(start.config, ShapeInit()), start.weights)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((1, 4, 3, 4, 4)).astype("f4"), rng.standard_normal((1, 1, 200, 8)).astype("f4")
    text = model.encode_text(OPS, y, np.ones((1, 200), bool))
    sizes = (VideoSize(32, 32, 3, 24), VideoSize(32, 32, 48, 8))
    one, other = (model.denoise(OPS, x, np.float32([400]), text, size) for size in sizes)
    np.testing.assert_array_equal(one, other)


def test_the_command_line_writes_a_folder_and_says_what_is_new(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "PixArt.safetensors", pixart())
    run = CliRunner().invoke
    done = run(app, ["convert", str(tmp_path / "PixArt.safetensors"), str(tmp_path / "new"), "--start", "v1.2"])
    assert done.exit_code == 0, done.output
    assert "temporal_blocks.*.attn.qkv (4)" in done.output
    assert "pos_embed" in done.output
    assert open_checkpoint(tmp_path / "new").config["num_heads"] == 2
    told = run(app, ["convert", str(tmp_path / "PixArt.safetensors"), str(tmp_path / "b"), "--start", "v1.0", "--json"])
    assert len(json.loads(told.stdout)["new"]) == DEPTH * 4
    refused = run(app, ["convert", str(tmp_path / "PixArt.safetensors"), str(tmp_path / "c")])
    assert refused.exit_code == 2
    assert "--start v1.2" in refused.stderr
    assert not (tmp_path / "c").exists()


def test_what_is_no_pixart_is_refused() -> None:
    video = {**pixart(), "blocks.0.attn_temp.qkv.weight": np.zeros((3 * C, C), np.float32)}
    with pytest.raises(WeightsError, match="is no PixArt"):
        start_from_pixart(video, "v1.0", "a video model")
    with pytest.raises(InvalidInputError, match=r"start='v1.3' is not one of v1.0, v1.1, v1.2"):
        start_from_pixart(pixart(), "v1.3", "PixArt")
    wrong = {**pixart(), "t_block.1.weight": np.zeros((5 * C, C), np.float32)}
    with pytest.raises(WeightsError, match=r"(?s)of another shape.*t_block"):
        start_from_pixart(wrong, "v1.2", "PixArt")
