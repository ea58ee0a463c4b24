"""Published weights, of every release and in every layout, are recognised and loaded; what is none of it is refused."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.mmdit import MMDiT
from opensora_core.dit.mmdit_config import MMDiTConfig
from opensora_core.dit.stdit import STDiT, STDiTConfig
from opensora_core.dit.stdit2 import STDiT2, STDiT2Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.dit.stdit3_windows import WindowedConfig, WindowedSTDiT3
from opensora_core.errors import FileFormatError, InvalidInputError, NonFiniteError, WeightsError
from opensora_core.module import state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.registry import get_backend
from opensora_core.releases.checkpoint import open_checkpoint
from opensora_core.releases.converting import convert
from opensora_core.releases.discovery import find_parts
from opensora_core.releases.loading import load_published
from opensora_core.serialization.writer import write_safetensors

TINY = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 8, "model_max_length": 6}
WINDOWS = {**TINY, "in_channels": 4, "num_heads": 2, "qk_norm": True}
MM = MMDiTConfig(8, 6, 10, 24, 2.0, 2, 1, 2, (4, 4, 4))
MODELS = {
    "v1.0": (STDiT, STDiTConfig(**{**TINY, "hidden_size": 144})),
    "v1.1": (STDiT2, STDiT2Config(**TINY, qk_norm=True, input_sq_size=512)),
    "v1.2": (STDiT3, STDiT3Config(**TINY)),
    "v1.3": (WindowedSTDiT3, WindowedConfig(**WINDOWS)),
    "v2.0": (MMDiT, MM),
}
OPS = get_backend("numpy", dtype="float32")


def weights(release: str) -> dict[str, np.ndarray]:
    kind, config = MODELS[release]
    return {name: np.asarray(array) for name, array in state_dict(kind.create(config, RandomInit(3))).items()}


@pytest.mark.parametrize("release", MODELS)
def test_a_bare_file_tells_its_release_and_its_configuration(release: str, tmp_path: Path) -> None:
    own = weights(release)
    write_safetensors(tmp_path / "some name.safetensors", own)
    published = load_published(tmp_path / "some name.safetensors", OPS)
    assert published.architecture.release == release
    told, (_, config) = published.config, MODELS[release]
    for name in ("hidden_size", "depth", "num_heads", "in_channels", "mlp_ratio"):
        assert getattr(told, name) == getattr(config, name), name
    for name, array in state_dict(published.model).items():
        np.testing.assert_array_equal(array, own[name])


def test_a_folder_says_what_weights_do_not(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "diffusion_pytorch_model.safetensors", weights("v1.2"))
    (tmp_path / "config.json").write_text(json.dumps({"input_sq_size": 256, "model_type": "STDiT3", "qk_norm": True}))
    assert load_published(tmp_path, OPS).config.input_sq_size == 256


@pytest.mark.parametrize("field", ["_class_name", "model_type", "architectures"])
def test_a_configuration_of_another_class_is_refused_and_of_other_code_says_nothing(field: str, tmp_path: Path) -> None:
    def load(name: str) -> str:
        said = [name] if field == "architectures" else name
        (tmp_path / "config.json").write_text(json.dumps({field: said}))
        return load_published(tmp_path, OPS).architecture.release

    write_safetensors(tmp_path / "model.safetensors", weights("v1.2"))
    for other in ("STDiT2", "MMDiT", "TwoStageVAE"):
        with pytest.raises(WeightsError, match=rf"is of {other} \(v.*but the weights are of STDiT3 \(v1\.2\)"):
            load(other)
    assert [load(name) for name in ("STDiT3", "STDiT3-XL/2", "PixArtTransformer2DModel")] == ["v1.2"] * 3
    write_safetensors(tmp_path / "model.safetensors", weights("v2.0"))
    assert load("MMDiT") == load("MMDiT, Flux layout") == "v2.0"


def test_shards_of_any_stem_are_put_together(tmp_path: Path) -> None:
    own = weights("v1.1")
    halves = [dict(list(own.items())[::2]), dict(list(own.items())[1::2])]
    files = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for file, half in zip(files, halves, strict=True):
        write_safetensors(tmp_path / file, half)
    index = {"weight_map": {name: file for file, half in zip(files, halves, strict=True) for name in half}}
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert state_dict(load_published(tmp_path, OPS).model).keys() == own.keys()
    (tmp_path / files[1]).unlink()
    with pytest.raises(FileFormatError, match="lacks the shard"):
        load_published(tmp_path, OPS)


def test_position_buffers_of_v1_0_give_the_size_and_are_left_out(tmp_path: Path) -> None:
    buffers = {
        "pos_embed": np.zeros((1, 256, 144), np.float32),
        "pos_embed_temporal": np.zeros((1, 16, 144), np.float32),
    }
    write_safetensors(tmp_path / "v1.safetensors", {**weights("v1.0"), **buffers})
    config = load_published(tmp_path / "v1.safetensors", OPS).config
    assert (config.input_size, config.space_scale) == ((16, 32, 32), 0.5)


@pytest.mark.parametrize("length", [4, 9])
def test_the_null_caption_is_cut_or_its_last_token_repeated(length: int, tmp_path: Path) -> None:
    own = weights("v1.2")
    write_safetensors(tmp_path / "model.safetensors", own)
    (tmp_path / "config.json").write_text(json.dumps({"model_max_length": length}))
    model = load_published(tmp_path, OPS).model
    rows = own["y_embedder.y_embedding"]
    expected = rows[np.minimum(np.arange(length), len(rows) - 1)]
    np.testing.assert_array_equal(model.y_embedder.y_embedding, expected)


@pytest.mark.parametrize("prefix", ["module.", "model.", "ema.module."])
def test_prefixes_of_all_names_are_no_part_of_them(prefix: str, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", {f"{prefix}{name}": array for name, array in weights("v1.2").items()})
    assert load_published(tmp_path / "a.safetensors", OPS).architecture.release == "v1.2"


@pytest.mark.parametrize("name", [".", "STDiT.safetensors"])
def test_the_number_of_heads_may_be_told_by_the_configuration_alone(name: str, tmp_path: Path) -> None:
    own = state_dict(STDiT.create(STDiTConfig(**TINY), RandomInit(3)))
    write_safetensors(tmp_path / "STDiT.safetensors", own)
    with pytest.raises(WeightsError, match=r"number of heads of STDiT with 24 channels: put .* num_heads beside them"):
        load_published(tmp_path / name, OPS)
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 2}))
    assert load_published(tmp_path / name, OPS).config.num_heads == 2


def test_shards_lie_beside_other_models(tmp_path: Path) -> None:
    own = {release: weights(release) for release in ("v1.1", "v1.2")}
    names = list(own["v1.1"])
    files = {f"weights-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in files.items():
        write_safetensors(tmp_path / file, {name: own["v1.1"][name] for name in part})
    index = {"weight_map": {name: file for file, part in files.items() for name in part}}
    (tmp_path / "weights.safetensors.index.json").write_text(json.dumps(index))
    assert load_published(tmp_path, OPS).architecture.release == "v1.1"
    write_safetensors(tmp_path / "other.safetensors", own["v1.2"])
    assert [part.architecture.release for part in find_parts(tmp_path)] == ["v1.2", "v1.1"], "in order"
    with pytest.raises(InvalidInputError, match=r"holds other.safetensors, weights.safetensors.index.json. Name the"):
        load_published(tmp_path, OPS)
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 4}))
    for path in ("other.safetensors", "weights.safetensors.index.json"):
        assert load_published(tmp_path / path, OPS).config.num_heads == 2, "of which model it is was not said"


def test_weights_are_cast_on_their_way(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", weights("v1.2"))
    published = load_published(tmp_path / "a.safetensors", OPS, "bfloat16")
    assert {str(array.dtype) for array in state_dict(published.model).values()} == {"bfloat16"}


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, None, "'rope.freqs' holds nan"),
        (-np.inf, "bfloat16", "'rope.freqs' holds inf"),
        (
            -(2.0**20),
            "float16",
            r"'rope.freqs' holds 1\S*e[+]06, which float16 with at most 65504 cannot: use bfloat16",
        ),
    ],
)
@pytest.mark.parametrize("stored", [np.float32, ml_dtypes.bfloat16])
def test_numbers_that_are_none_or_too_large_are_named(
    value: float, dtype: str | None, message: str, stored: Any, tmp_path: Path
) -> None:
    own = {name: array.astype(stored) for name, array in weights("v1.2").items()}
    own["rope.freqs"] = np.full_like(own["rope.freqs"], value)
    write_safetensors(tmp_path / "a.safetensors", own)
    for use in (
        lambda: load_published(tmp_path / "a.safetensors", OPS, dtype),
        lambda: convert(tmp_path / "a.safetensors", tmp_path / "b", dtype=dtype),
    ):
        with pytest.raises(NonFiniteError, match=message):
            use()
    assert not (tmp_path / "b").exists()


def test_weights_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    own = weights("v1.2")
    own["rope.freqs"] = own["rope.freqs"].astype(np.int32)
    write_safetensors(tmp_path / "a.safetensors", own)
    with pytest.raises(WeightsError, match=r"'rope.freqs' is of int32, expected floating numbers"):
        load_published(tmp_path / "a.safetensors", OPS)


def test_what_is_missing_or_too_much_is_named(tmp_path: Path) -> None:
    own = weights("v1.2")
    gone = own.pop("temporal_blocks.1.mlp.fc1.bias")
    write_safetensors(tmp_path / "a.safetensors", {**own, "temporal_blocks.1.mlp.fc3.bias": gone})
    with pytest.raises(
        WeightsError, match=r"(?s)a\.safetensors was recognised as STDiT3 of v1\.2, but .*1 missing.*1 unexpected"
    ):
        load_published(tmp_path / "a.safetensors", OPS)


def test_a_model_cut_short_is_refused(tmp_path: Path) -> None:
    own = weights("v1.2")
    del own["rope.freqs"]
    write_safetensors(tmp_path / "a.safetensors", own)
    with pytest.raises(WeightsError, match=r"looks like STDiT3 of v1\.2, but lacks rope\.freqs"):
        load_published(tmp_path / "a.safetensors", OPS)


def test_foreign_weights_pickles_and_empty_folders_are_refused(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "foreign.safetensors", {"a": np.zeros(3, np.float32)})
    with pytest.raises(WeightsError, match=r"no model that is known here.*begin with 'a'.*STDiT3 of v1\.2"):
        load_published(tmp_path / "foreign.safetensors", OPS)
    (tmp_path / "old").mkdir()
    with pytest.raises(InvalidInputError, match="holds none"):
        open_checkpoint(tmp_path / "old")
    (tmp_path / "old" / "OpenSora-v1.pth").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"opensora convert"):
        open_checkpoint(tmp_path / "old")
