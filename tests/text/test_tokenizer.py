from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.errors import InvalidInputError
from opensora_core.text.tokenizer import WordTokenizer

WORDS = ("ball", "blue", "left", "moves", "red")


@pytest.fixture
def tokenizer() -> WordTokenizer:
    return WordTokenizer(WORDS, max_length=6)


def test_words_get_their_numbers_after_padding_and_unknown(tokenizer: WordTokenizer) -> None:
    ids, mask = tokenizer.encode("Red BALL, jumps left!")
    assert ids.tolist() == [6, 2, 1, 4, 0, 0]
    assert mask.tolist() == [True, True, True, True, False, False]
    assert ids.dtype == np.int64
    assert mask.dtype == np.bool_
    assert len(tokenizer) == 7


def test_an_empty_prompt_is_all_padding(tokenizer: WordTokenizer) -> None:
    for text in ("", "  ", "123 !"):
        ids, mask = tokenizer.encode(text)
        assert not ids.any()
        assert not mask.any()


def test_a_batch_is_its_prompts_one_by_one(tokenizer: WordTokenizer) -> None:
    texts = ["red ball", "", "blue ball moves left"]
    ids, mask = tokenizer.encode_batch(texts)
    assert ids.shape == mask.shape == (3, 6)
    for row, text in enumerate(texts):
        alone_ids, alone_mask = tokenizer.encode(text)
        assert np.array_equal(ids[row], alone_ids)
        assert np.array_equal(mask[row], alone_mask)
    assert tokenizer.encode_batch([])[0].shape == (0, 6)


def test_lost_words_are_named(tokenizer: WordTokenizer) -> None:
    text = "red ball moves left, red ball moves left"
    assert tokenizer.dropped_words(text) == ["moves", "left"]
    assert tokenizer.describe_loss(text) == "cut off after 6 words: moves left"
    assert tokenizer.unknown_words("2 Red dogs, dogs and красный café") == ["2", "dogs", "and", "красный", "café"]
    assert tokenizer.describe_loss("red dogs") == "unknown to this model: dogs"
    assert tokenizer.describe_loss("a b c red ball moves left") == (
        "unknown to this model: a, b, c; cut off after 6 words: left"
    )
    assert tokenizer.describe_loss("Red ball") == ""
    assert tokenizer.describe_loss("a dragon") == (
        "unknown to this model: a, dragon; no word of it is known, so that the prompt decides nothing"
    )
    assert tokenizer.describe_loss("red " * 20) == f"cut off after 6 words: {'red ' * 8}and 6 more"


def test_it_survives_json(tokenizer: WordTokenizer) -> None:
    again = WordTokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.vocabulary == WORDS
    assert again.max_length == 6
    assert again.encode("blue ball")[0].tolist() == tokenizer.encode("blue ball")[0].tolist()


@pytest.mark.parametrize(
    ("vocabulary", "max_length", "message"),
    [
        (["red", "red"], 4, "'red'.*more than once"),
        (["Red"], 4, "'Red'.*letters a-z"),
        (["<pad>"], 4, "<pad>"),
        (["two words"], 4, "two words"),
        (["red"], 0, "max_length=0"),
    ],
)
def test_an_unusable_vocabulary_is_refused(vocabulary: list[str], max_length: int, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        WordTokenizer(vocabulary, max_length)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"type": "bpe", "max_length": 4, "vocabulary": ["red"]},
        {"type": "word", "max_length": "4", "vocabulary": ["red"]},
        {"type": "word", "max_length": 4, "vocabulary": "red"},
        {"type": "word", "max_length": 4, "vocabulary": [3]},
    ],
)
def test_a_config_of_another_form_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        WordTokenizer.from_dict(config)


@given(st.text(max_size=60))
def test_any_text_encodes_to_legal_numbers(text: str) -> None:
    tokenizer = WordTokenizer(WORDS, max_length=6)
    ids, mask = tokenizer.encode(text)
    assert ids.shape == mask.shape == (6,)
    assert ((ids >= 0) & (ids < len(tokenizer))).all()
    count = int(mask.sum())
    assert mask[:count].all()
    assert len(tokenizer.dropped_words(text)) == 0 or count == 6
