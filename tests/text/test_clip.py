"""CLIP's text model against `transformers`: the same features, the same end of a prompt, the same names."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import CLIPTextConfig as OfficialConfig
from transformers import CLIPTextModel

from opensora_core.accuracy import eps
from opensora_core.errors import InvalidInputError
from opensora_core.module import state_dict, to_backend
from opensora_core.nn.init import ShapeInit
from opensora_core.registry import get_backend
from opensora_core.releases.text_models import load_clip
from opensora_core.releases.text_shapes import CLIP_PREFIX
from opensora_core.serialization.folder import save_folder
from opensora_core.serialization.state import fill
from opensora_core.text.clip import CLIPText
from opensora_core.text.clip_config import CLIPTextConfig

from .oracle import SMALL_CLIP, far, in_float64, official_clip, weights

IDS = np.array([[58, 3, 9, 59, 59, 59, 59], [58, 3, 9, 4, 7, 11, 59], [58, 59, 12, 0, 0, 0, 0]])  # 59 ends a prompt


def ours(ops, official, **changed):
    config = CLIPTextConfig(**{**SMALL_CLIP, **changed})
    model = to_backend(ops, fill(CLIPText.create(config, ShapeInit()), weights(official, CLIP_PREFIX)))
    return [ops.to_numpy(x) for x in model(ops, IDS)]


def official_features(model):
    with torch.no_grad():
        out = model(input_ids=torch.tensor(IDS))
    return out.last_hidden_state.numpy(), out.pooler_output.numpy()


@pytest.mark.parametrize("end", [2, 59])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_features_are_those_of_transformers(backend, end):
    plain = official_clip(eos_token_id=end)
    truths = official_features(in_float64(copy.deepcopy(plain)))
    single, double = (
        ours(get_backend(backend, device="cpu", dtype=dtype), plain, eos_token_id=end)
        for dtype in ("float32", "float64")
    )
    for truth, official, found, exact in zip(truths, official_features(plain), single, double, strict=True):
        scale = np.abs(truth).max()
        assert found.dtype == np.float32
        assert far(exact, truth) < 1e-12 * scale
        assert far(found, truth) <= 2 * far(official, truth) + 4 * eps("float32") * scale


def test_the_published_size_has_the_published_names():
    with torch.device("meta"):
        published = CLIPTextModel(OfficialConfig(**vars(CLIPTextConfig())))
    shapes = {CLIP_PREFIX + name: tuple(tensor.shape) for name, tensor in published.state_dict().items()}
    own = {name: leaf.shape for name, leaf in state_dict(CLIPText.create(CLIPTextConfig(), ShapeInit())).items()}
    assert own == shapes
    assert "text_model.encoder.layers.11.self_attn.out_proj.bias" in own


def test_a_folder_of_both_models_gives_the_text_model(tmp_path):
    ops, official = get_backend("numpy", device="cpu", dtype="float32"), official_clip()
    others = {
        "vision_model.embeddings.class_embedding": np.ones(4),
        "logit_scale": np.ones(()),
        "text_projection.weight": np.ones((2, 2)),
        "text_model.embeddings.position_ids": np.arange(9)[None],
    }
    config = {"model_type": "clip", "num_attention_heads": 3}  # which shapes do not tell
    save_folder(tmp_path / "clip", config, {**weights(official, CLIP_PREFIX), **others})
    found = load_clip(ops, tmp_path / "clip")(ops, IDS)
    assert np.array_equal(found.pooled, ours(ops, official)[1])


def test_what_does_not_fit_is_refused():
    ops = get_backend("numpy", device="cpu", dtype="float32")
    model = CLIPText.create(CLIPTextConfig(**SMALL_CLIP), ShapeInit())
    with pytest.raises(InvalidInputError, match="10 tokens; this CLIP has 9 positions"):
        model(ops, np.zeros((1, 10), np.int64))
    with pytest.raises(InvalidInputError, match="hidden_size=25"):
        CLIPTextConfig(hidden_size=25)
