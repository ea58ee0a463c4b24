"""Prompts through tokenizer, encoder and cache, as the releases do it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5Tokenizer

from opensora_core.errors import InvalidInputError
from opensora_core.registry import get_backend
from opensora_core.releases.prompts import PromptEncoder, clip_prompts, fingerprint, t5_prompts, transformers_prompts
from opensora_core.releases.text_models import open_t5
from opensora_core.serialization.array_cache import ArrayCache
from opensora_core.serialization.folder import save_folder
from opensora_core.serialization.reader import read_safetensors
from opensora_core.serialization.writer import write_safetensors
from opensora_core.text.cleaning import clean_prompt
from opensora_core.text.published_tokenizers import open_tokenizer
from opensora_core.text.warning import PromptWarning

from .oracle import SMALL_CLIP, SMALL_T5, far, shaken, weights
from .tiny import clip_tokenizer, t5_tokenizer

PROMPTS = ["<b>A Cat</b> sits on a mat", "the waterfall is slow"]
SETTINGS = {**SMALL_T5, "vocab_size": 60}


def published(config, model, folder):
    settings = json.loads(config.to_json_string(use_diff=False))
    prefix = "text_model." if settings["model_type"].startswith("clip") else ""
    save_folder(folder / "saved", settings, weights(model, prefix))
    for path in (folder / "saved").iterdir():
        path.rename(folder / path.name)
    return folder


@pytest.fixture(scope="module")
def official():
    config = T5Config(**SETTINGS, feed_forward_proj="gated-gelu")
    return config, shaken(T5EncoderModel(config)).requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, official):
    return published(*official, t5_tokenizer(tmp_path_factory.mktemp("t5")))


@pytest.fixture
def ops():
    return get_backend("numpy", device="cpu", dtype="float32")


def test_v1_cleans_and_hides_padding_v2_does_neither(ops, folder, official):
    tokenizer = T5Tokenizer.from_pretrained(folder)
    cleaned = [clean_prompt(prompt) for prompt in PROMPTS]
    expected = transformers_prompts(official[1], tokenizer, cleaned, 300)
    found = t5_prompts(ops, folder, "v1.2")(PROMPTS)
    assert found.features.shape == (2, 300, 24)
    assert np.array_equal(found.mask, expected.mask)
    assert far(found.features, expected.features) < 1e-3 * np.abs(expected.features).max()

    tokens = tokenizer(PROMPTS, padding="max_length", max_length=512, return_tensors="pt").input_ids
    plain = official[1](input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state.numpy()
    found = t5_prompts(ops, folder, "v2.0")(PROMPTS)
    assert found.mask.all()
    assert far(found.features, plain) < 1e-3 * np.abs(plain).max()


def test_clip_gives_the_pooled_token(ops, tmp_path):
    config = CLIPTextConfig(
        **{**SMALL_CLIP, "vocab_size": 200, "max_position_embeddings": 77}, bos_token_id=0, pad_token_id=1
    )
    model = shaken(CLIPTextModel(config))
    clip_tokenizer(tmp_path)
    ids = torch.tensor(open_tokenizer(tmp_path, 77).encode_batch(PROMPTS).ids)
    prompts = clip_prompts(ops, published(config, model, tmp_path))
    with torch.no_grad():
        expected = model(input_ids=ids).pooler_output.numpy()
    found = prompts(PROMPTS).features
    assert found.shape == (2, 24)
    assert far(found, expected) < 1e-3 * np.abs(expected).max()


def test_a_prompt_is_encoded_once_by_each_encoder(ops, folder, tmp_path):
    tokenizer, t5, seen = open_tokenizer(folder, 40), open_t5(folder), []

    def encoder(ops, ids, mask):
        seen.append(len(ids))
        return t5(ops, ids, mask)

    def encode(prompts, key="one", cleans=True):  # a new encoder each time, as in another run
        cache = ArrayCache(tmp_path)
        return PromptEncoder(ops, tokenizer, encoder, cleans=cleans, masks=True, key=key, cache=cache)(prompts)

    first = encode(PROMPTS)
    again = encode([PROMPTS[1], "a cat", *PROMPTS])
    assert seen == [2, 1]
    assert np.array_equal(again.features[[2, 3, 0]], first.features[[0, 1, 1]])
    encode([clean_prompt(PROMPTS[0])], cleans=False)  # the same tokens
    assert seen == [2, 1]
    encode(PROMPTS, key="another")
    assert seen == [2, 1, 2]


def test_another_number_in_the_middle_of_a_weight_gives_other_features(ops, folder, tmp_path):
    model, cache = shutil.copytree(folder, tmp_path / "model"), ArrayCache(tmp_path / "cache")

    def encode():
        return t5_prompts(ops, model, "v2.0", cache=cache)(PROMPTS).features

    first, kept = encode(), cache.bytes
    assert np.array_equal(encode(), first)
    assert cache.bytes == kept
    tensors = read_safetensors(model / "model.safetensors")
    tensors["encoder.block.1.layer.0.SelfAttention.q.weight"][5] += 1
    write_safetensors(model / "model.safetensors", tensors)
    assert np.array_equal(encode(), t5_prompts(ops, model, "v2.0")(PROMPTS).features)
    assert far(encode(), first) > 0


def test_a_fingerprint_is_of_weights_in_all_shards_and_of_the_configuration(folder, tmp_path):
    weights = read_safetensors(folder / "model.safetensors")
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    for path, number in ((one, 0), (same, 0), (other, 1)):
        changed = {name: array + number * (i == 9) for i, (name, array) in enumerate(weights.items())}
        save_folder(path, {"num_layers": 2}, changed, max_shard_bytes=9_000)
    assert len(list(one.glob("model-*"))) > 2
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    (same / "config.json").write_text("{}")
    assert fingerprint(one) != fingerprint(same)


def test_a_prompt_that_is_too_long_is_a_warning(ops, folder):
    prompts = PromptEncoder(ops, open_tokenizer(folder, 6), open_t5(folder), cleans=False, masks=True, key="")
    with pytest.warns(PromptWarning, match=r"'the waterfall is slow'\.\.\. is too long: \d+ of \d+ tokens are cut off"):
        prompts(["the waterfall is slow"])


def test_what_is_no_list_of_prompts_or_no_release_is_refused(ops, folder):
    with pytest.raises(InvalidInputError, match="prompts='a cat' must be a list of one or more texts"):
        t5_prompts(ops, folder, "v1.2")("a cat")
    with pytest.raises(InvalidInputError, match=r"release='v3' is not one of v1\.0"):
        t5_prompts(ops, folder, "v3")
