"""T5 v1.1 against `transformers`: the same features, the same names of weights."""

from __future__ import annotations

import copy
import json
import weakref

import ml_dtypes
import numpy as np
import pytest
import torch
from transformers import T5Config as OfficialConfig
from transformers import T5EncoderModel
from transformers.models.t5.modeling_t5 import T5Attention as OfficialAttention

from opensora_core.accuracy import eps
from opensora_core.errors import InvalidInputError, WeightsError
from opensora_core.module import num_parameters, state_dict, to_backend
from opensora_core.nn.init import RandomInit, ShapeInit
from opensora_core.registry import get_backend
from opensora_core.releases.discovery import find_parts
from opensora_core.releases.text_models import load_clip, load_t5, open_t5
from opensora_core.releases.text_shapes import T5_ALIAS, t5_weights
from opensora_core.serialization import arriving
from opensora_core.serialization.folder import save_folder
from opensora_core.serialization.state import fill
from opensora_core.text.t5 import T5Encoder
from opensora_core.text.t5_config import T5Config
from opensora_core.text.t5_positions import position_buckets

from .oracle import SMALL_T5, far, in_float64, official_t5, weights

IDS = np.random.default_rng(0).integers(2, 50, (3, 23))
MASK = np.arange(23) < np.array([[23], [11], [1]])
SMALL = T5Config(**SMALL_T5)


def ours(ops, mask):
    model = to_backend(ops, fill(T5Encoder.create(SMALL, ShapeInit()), t5_weights(weights(official_t5()))))
    return ops.to_numpy(model(ops, IDS, mask))


def official(model, mask):
    with torch.no_grad():
        given = None if mask is None else torch.tensor(mask)
        return model(input_ids=torch.tensor(IDS), attention_mask=given).last_hidden_state.numpy()


@pytest.mark.parametrize("mask", [MASK, None], ids=["mask", "no mask"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_features_are_those_of_transformers(backend, mask):
    plain = official_t5()
    truth = official(in_float64(copy.deepcopy(plain)), mask)
    assert far(ours(get_backend(backend, device="cpu", dtype="float64"), mask), truth) < 1e-12 * np.abs(truth).max()
    rounding = 4 * eps("float32") * np.abs(truth).max()
    found = ours(get_backend(backend, device="cpu", dtype="float32"), mask)
    assert found.dtype == np.float32
    assert far(found, truth) <= 2 * far(official(plain, mask), truth) + rounding


@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (8, 12), (64, 300)])
def test_positions_share_buckets_as_in_transformers(buckets, farthest):
    offset = torch.arange(520)[None] - torch.arange(520)[:, None]
    official_buckets = OfficialAttention._relative_position_bucket(offset, True, buckets, farthest)
    assert np.array_equal(position_buckets(520, buckets, farthest), official_buckets)


def test_the_xxl_encoder_has_the_published_names_and_takes_no_memory_as_shapes():
    with torch.device("meta"):
        published = T5EncoderModel(OfficialConfig(feed_forward_proj="gated-gelu", **vars(T5Config())))
    shapes = {name: tuple(tensor.shape) for name, tensor in published.state_dict().items()}
    own = T5Encoder.create(T5Config(), ShapeInit())
    assert shapes.pop(T5_ALIAS) == (32128, 4096)
    assert {name: leaf.shape for name, leaf in state_dict(own).items()} == shapes
    assert num_parameters(own) == 4_762_310_656
    assert not any(any(leaf.strides) for leaf in state_dict(own).values())


def save(folder, dtype=np.float32, **more):
    stored = {name: array.astype(dtype) for name, array in weights(official_t5()).items()}
    config = json.loads(OfficialConfig(**SMALL_T5, feed_forward_proj="gated-gelu").to_json_string(use_diff=False))
    save_folder(folder, config, {**stored, **more}, max_shard_bytes=20_000)
    return folder


def test_a_published_folder_is_loaded_with_what_else_it_may_hold(tmp_path):
    ops = get_backend("numpy", device="cpu", dtype="float32")
    decoder = {"decoder.final_layer_norm.weight": np.ones(24, np.float32), "lm_head.weight": np.ones((50, 24))}
    folder = save(tmp_path / "t5", **decoder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    expected = ours(ops, MASK)
    assert np.array_equal(load_t5(ops, folder)(ops, IDS, MASK), expected)
    assert np.array_equal(open_t5(folder)(ops, IDS, MASK), expected)
    with pytest.raises(WeightsError, match=r"'encoder.block.7.x' \[1\]"):
        open_t5(save(tmp_path / "odd", **{"encoder.block.7.x": np.ones(1)}))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_read_from_its_file_the_encoder_holds_one_block_at_a_time(tmp_path, backend):
    made = get_backend(backend, device="cpu", dtype="float32")
    held, peak = 0, 0

    class Counting(type(made)):
        def asarray(self, x, dtype=None):
            nonlocal peak
            array = super().asarray(x, dtype)
            if isinstance(x, np.ndarray) and x.dtype == ml_dtypes.bfloat16:  # a weight of the file
                count(array.nbytes)
                weakref.finalize(array, count, -array.nbytes)
            return array

    def count(nbytes):
        nonlocal held, peak
        held += nbytes
        peak = max(peak, held)

    streamed = open_t5(save(tmp_path / "t5", ml_dtypes.bfloat16))
    ops = Counting(made.device, made.dtype)
    found = ops.to_numpy(streamed(ops, IDS, MASK))
    loaded = load_t5(made, tmp_path / "t5")
    assert np.array_equal(found, made.to_numpy(loaded(made, IDS, MASK)))
    block = 4 * num_parameters(loaded.encoder.block[0])
    tokens = 4 * IDS.size * SMALL.d_model
    assert block <= peak <= block + tokens + 4 * 8 * 4
    assert peak < 4 * num_parameters(loaded) / 2


def test_read_from_its_file_the_encoder_forgets_the_pages_of_every_block(tmp_path, monkeypatch):
    streamed, forgotten = open_t5(save(tmp_path / "t5")), []
    monkeypatch.setattr(arriving, "forget_pages", lambda array: forgotten.append(array.ctypes.data))
    streamed(get_backend("numpy", device="cpu"), IDS, MASK)
    places = {name: streamed.weights[name].ctypes.data for name in streamed.weights}
    # once when a weight has arrived, once when its block has run
    assert {name for name, place in places.items() if forgotten.count(place) == 2} == {
        name for name in places if ".block." in name
    }


def test_other_architectures_are_refused(tmp_path):
    gated = "DenseReluDense.wi_0"
    first = {name.replace(gated, "DenseReluDense.wi"): array for name, array in weights(official_t5()).items()}
    save_folder(tmp_path / "first", {}, {name: array for name, array in first.items() if ".wi_1." not in name})
    with pytest.raises(WeightsError, match="no model that is known here"):
        open_t5(tmp_path / "first")
    with pytest.raises(WeightsError, match=r"holds the weights of T5Encoder; expected those of CLIP's text model"):
        load_clip(get_backend("numpy", device="cpu"), save(tmp_path / "t5"))
    with pytest.raises(InvalidInputError, match="relative_attention_num_buckets=6"):
        T5Config(relative_attention_num_buckets=6)


def test_random_weights_run_in_half_precision():
    ops = get_backend("numpy", device="cpu", dtype="bfloat16")
    model = to_backend(ops, T5Encoder.create(SMALL, RandomInit(0)))
    features = model(ops, IDS, MASK)
    assert ops.dtype_name(features) == "bfloat16"
    assert np.isfinite(features.astype(np.float32)).all()


def test_published_text_models_are_found_with_their_shape(tmp_path):
    (tmp_path / "google").mkdir()
    save(tmp_path / "google" / "t5-v1_1-xxl")
    (part,) = find_parts(tmp_path)
    told = part.describe()
    assert (told["architecture"], told["part"], told["release"]) == ("T5Encoder", "text encoder", "v1.0 to v2.0")
    assert told["config"] == {**SMALL_T5}
    assert told["parameters"] == num_parameters(T5Encoder.create(SMALL, ShapeInit()))
    (tmp_path / "google" / "t5-v1_1-xxl" / "config.json").unlink()
    told = find_parts(tmp_path)[0].describe()["config"]
    assert told == {**SMALL_T5, "relative_attention_max_distance": 128}, "which shapes do not tell"
