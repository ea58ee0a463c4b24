"""New words: a model tells them apart, and is the same in all else."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.pipelines.new_words import main, with_words
from opensora_core.pipelines.opensora import OpenSora

WORDS = ("swings", "swinging")


@pytest.fixture(scope="module")
def model(nano):
    return OpenSora.from_pretrained(nano, backend="numpy")


@pytest.fixture(scope="module")
def taught(model):
    return with_words(model, WORDS)


def frames(model, prompt):
    return model.generate_from_text(prompt, seed=0).frames


def test_what_does_not_say_the_words_is_as_before(model, taught):
    prompt = "a red ball moves right"
    assert np.array_equal(frames(model, prompt), frames(taught, prompt))
    assert taught.config.vocabulary == (*model.config.vocabulary, *WORDS)
    assert set(WORDS).isdisjoint(model.config.vocabulary)


def test_each_word_is_told_from_the_other_and_from_unknown_ones(model, taught, recwarn):
    rows = taught.state_dict()["text_encoder.embedding"]
    assert not np.array_equal(rows[-1], rows[-2])
    clips = [frames(taught, f"a red ball {word}") for word in (*WORDS, "wobbles")]
    assert not np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0], clips[2])
    assert np.array_equal(clips[2], frames(model, "a red ball wobbles"))
    assert all("wobbles" in str(warning.message) for warning in recwarn)


def test_the_same_words_get_the_same_rows_whatever_else_is_added(model, taught):
    alone = with_words(model, ["swinging"]).state_dict()["text_encoder.embedding"]
    assert np.array_equal(alone[-1], taught.state_dict()["text_encoder.embedding"][-1])


def test_the_command_writes_a_model_that_knows_them(nano, tmp_path, capsys):
    main([*WORDS, "--init", nano, "-o", str(tmp_path / "taught")])
    assert "192 words, new: swings, swinging" in capsys.readouterr().out
    assert OpenSora.from_pretrained(tmp_path / "taught", backend="numpy").config.vocabulary[-2:] == WORDS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["red", "swings"], "knows red already"),
        ([], "one or more"),
        (["to and fro"], "letters a-z"),
        (["swings", "swings"], "more than once"),
    ],
)
def test_what_is_no_new_word_is_refused(model, words, message):
    with pytest.raises(InvalidInputError, match=message):
        with_words(model, words)
