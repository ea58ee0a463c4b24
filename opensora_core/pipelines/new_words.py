"""New words for a model's vocabulary, which fine-tuning then gives a meaning.

A word that the vocabulary lacks is read as "unknown", like any other such word. Here it gets a row of its own in the
text encoder's embedding, drawn as far from all others as they are from each other; the encoder stays as it is, and the
denoiser learns what the word means. (Textual inversion, Gal et al. 2022, does the reverse: it learns the row.)

python -m opensora_core.pipelines.new_words swings swinging -o with-words
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InvalidInputError
from ..random import normal
from ..text.tokenizer import SPECIAL_WORDS
from .opensora import OpenSora

EMBEDDING = "text_encoder.embedding"


def with_words(model: OpenSora, words: Sequence[str], *, seed: int = 0) -> OpenSora:
    """Return a model that tells `words` (of the letters a-z, none known yet) from each other and from all it knows.

    Everything else is as in `model`, which stays as it is: prompts without the words give the same videos.

    Raises:
        InvalidInputError: for no word, or one that is known, repeated or no word.
    """
    config = model.config
    known = sorted(set(words) & set(config.vocabulary))
    if known or not words:
        raise InvalidInputError(
            f"the model knows {', '.join(known)} already" if known else "name one or more new words"
        )
    state = model.state_dict()
    rows = np.asarray(state[EMBEDDING], np.float32)  # (vocabulary, C)
    likes = rows[len(SPECIAL_WORDS) :]
    drawn = np.stack([normal(seed, f"word {word}", 0, rows.shape[1:]) for word in words])
    state[EMBEDDING] = np.concatenate([rows, likes.mean(0) + likes.std(0) * drawn])
    text = replace(config.text, vocabulary=len(state[EMBEDDING]))
    made = OpenSora(replace(config, vocabulary=(*config.vocabulary, *words), text=text), backend=model.ops)
    made.load_state_dict(state)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Read a model, add the words, write it."""
    parser = argparse.ArgumentParser(description="Add words to a model's vocabulary, to be learned by fine-tuning.")
    parser.add_argument("words", nargs="+", help="of the letters a-z")
    parser.add_argument("--init", help="model folder; the embedded one unless given")
    parser.add_argument("-o", "--output", required=True, help="model folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of the new rows (default 0)")
    options = parser.parse_args(arguments)
    model = OpenSora.from_pretrained(options.init, backend="numpy")
    made = with_words(model, options.words, seed=options.seed)
    print(f"{made.save(options.output)}: {len(made.config.vocabulary)} words, new: {', '.join(options.words)}")


if __name__ == "__main__":
    main()
