"""Where the tokenizer of a published text encoder lies."""

from __future__ import annotations

from pathlib import Path

from ..text.published_tokenizers import FAST, MERGES, SENTENCES, SETTINGS, VOCAB

FILES = (FAST, SENTENCES, VOCAB, MERGES, SETTINGS, "special_tokens_map.json", "added_tokens.json")


def tokenizer_folder(weights: str | Path) -> Path:
    """The folder of the weights, or where none is in it, as diffusers has it: `tokenizer` beside `text_encoder`."""
    path = Path(weights)
    folder = path if path.is_dir() else path.parent
    beside = folder.with_name(folder.name.replace("text_encoder", "tokenizer")) if folder.name else folder
    return folder if any((folder / name).is_file() for name in (FAST, SENTENCES, VOCAB)) else beside


def tokenizer_files(weights: str | Path) -> list[Path]:
    """What there is of the tokenizer of a text encoder."""
    folder = tokenizer_folder(weights)
    return [folder / name for name in FILES if (folder / name).is_file()]
