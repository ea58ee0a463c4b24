from __future__ import annotations

import numpy as np
import pytest

from opensora_core.synthetic import EASY, FULL, SWING, Scene, describe, vocabulary
from opensora_core.synthetic.words import COLOR_WORDS, EXTRA_WORDS, SHAPE_WORDS, SIZE_WORDS
from opensora_core.text.tokenizer import WordTokenizer


def prompts(count: int, seed: int = 0) -> list[tuple[Scene, str]]:
    rng = np.random.default_rng(seed)
    scenes = [FULL.sample(rng) for _ in range(count)]
    return [(scene, describe(scene, rng, still_image=bool(rng.random() < 0.2))) for scene in scenes]


def test_the_canonical_wording() -> None:
    rng = np.random.default_rng(0)
    large = Scene("circle", "red", "blue", "large", "right")
    assert describe(large, rng, canonical=True) == "a large red circle moves right on a blue background"
    medium = Scene("star", "orange", "white", "medium", "upright")
    said = "an orange star moves diagonally up and right on a white background"
    assert describe(medium, rng, canonical=True) == said
    assert describe(medium, rng, canonical=True, still_image=True) == "an orange star on a white background"
    assert rng.random() == np.random.default_rng(0).random()  # nothing was drawn


def test_the_canonical_wording_tells_all_scenes_apart() -> None:
    rng = np.random.default_rng(0)
    scenes = set(FULL.scenes())
    assert len({describe(scene, rng, canonical=True) for scene in scenes}) == len(scenes)


def test_free_wording_names_shape_colors_and_size_by_one_of_their_words() -> None:
    for scene, prompt in prompts(400):
        words = prompt.replace(",", "").split()
        assert set(words) & set(SHAPE_WORDS[scene.shape]), prompt
        assert set(words) & set(COLOR_WORDS[scene.color]), prompt
        assert set(words) & set(COLOR_WORDS[scene.background]), prompt
        if scene.size != "medium":
            assert set(words) & set(SIZE_WORDS[scene.size]), prompt


def test_every_prompt_fits_24_words_of_the_vocabulary() -> None:
    tokenizer = WordTokenizer(vocabulary(), max_length=24)
    for _, prompt in prompts(3000):
        assert tokenizer.describe_loss(prompt) == "", prompt


def test_every_word_of_the_vocabulary_is_said_or_expected_from_users() -> None:
    said = {word for _, prompt in prompts(8000) for word in prompt.replace(",", "").split()}
    assert set(vocabulary()) - said <= set(EXTRA_WORDS)
    assert said <= set(vocabulary())


def test_the_vocabulary_is_sorted_and_knows_how_users_go_on() -> None:
    words = vocabulary()
    assert list(words) == sorted(set(words))
    assert {"one", "two", "it", "then", "back", "comes", "and"} <= set(words)


def test_the_new_motion_is_said_in_two_words_that_the_vocabulary_lacks() -> None:
    rng = np.random.default_rng(0)
    scene = Scene("circle", "red", "blue", "large", "swing")
    assert describe(scene, rng, canonical=True) == "a large red circle swings on a blue background"
    said = {word for _ in range(500) for word in describe(SWING.sample(rng), rng).replace(",", "").split()}
    assert said - set(vocabulary()) == {"swings", "swinging"}


@pytest.mark.parametrize("still_image", [False, True])
def test_wording_is_a_function_of_the_generator_and_varies(still_image: bool) -> None:
    scene = EASY.scenes()[0]
    first, again = (
        [describe(scene, rng, still_image=still_image) for _ in range(100)]
        for rng in (np.random.default_rng(1), np.random.default_rng(1))
    )
    assert first == again
    assert len(set(first)) > 50


def test_prompts_are_tidy() -> None:
    for _, prompt in prompts(1000):
        assert prompt == prompt.strip()
        assert "  " not in prompt
        assert " ," not in prompt
        assert "{" not in prompt
        assert " a orange" not in f" {prompt}"
