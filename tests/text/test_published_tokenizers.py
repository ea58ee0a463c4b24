"""Tokenizers of published models against those of `transformers`."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Tokenizer

from opensora_core.errors import FileFormatError, InvalidInputError, MissingDependencyError
from opensora_core.text.published_tokenizers import open_tokenizer

from .tiny import END, clip_pairs, clip_tokenizer, t5_tokenizer

PROMPTS = [
    "a cat on a mat",
    "",
    "  The Waterfall  isn't slow ☃ é",
    "the camera pans left at night, and left again " * 3,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tokenizers")
    t5_tokenizer(made / "t5")
    clip_tokenizer(made / "clip")
    clip_pairs(made / "pairs")
    return made


def official(folder, kind):
    if kind == "t5":
        return T5Tokenizer.from_pretrained(folder / "t5")
    if kind == "pairs":
        return CLIPTokenizer.from_pretrained(folder / "pairs")
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "clip" / "tokenizer.json"), pad_token=END)


@pytest.mark.parametrize("kind", ["t5", "clip"])
def test_ids_and_masks_are_those_of_transformers(folder, kind):
    expected = official(folder, kind)(PROMPTS, padding="max_length", truncation=True, max_length=14)
    ids, mask = open_tokenizer(folder / kind, 14).encode_batch(PROMPTS)
    assert ids.tolist() == expected["input_ids"]
    assert mask.astype(int).tolist() == expected["attention_mask"]
    assert mask.all(axis=1).tolist() == [False, False, True, True] if kind == "clip" else mask[3].all()
    assert (ids.dtype, mask.dtype) == (np.int64, np.bool_)


SPECIAL = {
    "t5": [
        "a cat</s>on  </s> a mat",
        "<pad>",
        "<extra_id_0> cat<extra_id_99>",
        "<unk>a",
        "</S>",
        "<extra_id_100>",
        "</s>.",
    ],
    "pairs": [
        "a <|endoftext|> cat<|startoftext|>on",
        "<|ENDOFTEXT|>!! we'll",
        "a\n\tcat <|endoftext|",
        "日本 DON'T é <|endoftext|>",
    ],
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_special_tokens_in_a_prompt_are_those_of_transformers(folder, kind):
    prompts = SPECIAL[kind] + PROMPTS
    expected = official(folder, kind)(prompts, padding="max_length", truncation=True, max_length=12)
    ids, mask = open_tokenizer(folder / kind, 12).encode_batch(prompts)
    assert ids.tolist() == expected["input_ids"]
    assert mask.astype(int).tolist() == expected["attention_mask"]


def test_what_is_cut_off_shows_words_and_no_marks(folder):
    assert open_tokenizer(folder / "pairs", 2).describe_loss("a cat on a mat").endswith(" fit: 'a cat on a mat'")
    assert open_tokenizer(folder / "t5", 2).describe_loss("cat <extra_id_3> left").endswith(" fit: 't left'")


@pytest.mark.parametrize("kind", ["t5", "clip"])
def test_what_is_cut_off_is_counted_and_shown(folder, kind):
    tokenizer = open_tokenizer(folder / kind, 14)
    count = len(official(folder, kind)(PROMPTS[3])["input_ids"])
    loss = tokenizer.describe_loss(PROMPTS[3])
    assert loss.startswith(f"{count - 14} of {count} tokens are cut off, since 14 fit: ")
    assert loss.endswith("...'")
    assert tokenizer.describe_loss(PROMPTS[0]) == ""
    assert open_tokenizer(folder / kind, count).describe_loss(PROMPTS[3]) == ""
    assert open_tokenizer(folder / kind, count - 1).describe_loss(PROMPTS[3]).startswith(f"1 of {count}")


def test_files_stand_for_their_folder_and_no_prompts_for_none(folder):
    by_file = open_tokenizer(folder / "t5" / "spiece.model", 5)
    assert np.array_equal(by_file.encode("a cat").ids, open_tokenizer(folder / "t5", 5).encode("a cat").ids)
    assert by_file.encode_batch([]).ids.shape == by_file.encode_batch([]).mask.shape == (0, 5)


@pytest.mark.parametrize(("kind", "package"), [("t5", "sentencepiece"), ("clip", "tokenizers")])
def test_without_its_package_the_error_names_the_extra(folder, kind, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"needs {package}: pip install 'opensora-core\[text\]'"):
        open_tokenizer(folder / kind, 5)


def test_what_is_no_tokenizer_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"expected tokenizer\.json, spiece\.model or vocab\.json with"):
        open_tokenizer(tmp_path, 5)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(InvalidInputError, match=r"no merges\.txt beside it"):
        open_tokenizer(tmp_path, 5)
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(FileFormatError, match=r"vocab\.json"):
        open_tokenizer(tmp_path, 5)
    for name in ("tokenizer.json", "spiece.model"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(FileFormatError, match=name):
            open_tokenizer(tmp_path / name, 5)
