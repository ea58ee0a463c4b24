"""Tokenizers of a few words, made here as the published ones were made."""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = ["a cat sits on a mat", "the waterfall is slow", "the camera pans left at night, aesthetic score: 6.5."] * 3
START, END = "<|startoftext|>", "<|endoftext|>"


def t5_tokenizer(folder: Path) -> Path:
    """A folder with a spiece.model, ids as in T5: 0 pads, 1 ends, 2 is unknown."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=48, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    return folder


def clip_tokenizer(folder: Path) -> Path:
    """A folder with a tokenizer.json like CLIP's: lower case, byte pairs, marks at both ends, padded with the end."""
    made = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=[START, END], end_of_word_suffix="</w>", show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    marks = [(token, made.token_to_id(token)) for token in (START, END)]
    made.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=marks)
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": END}}))
    return folder


def clip_pairs(folder: Path) -> Path:
    """The same tokens as in `clip_tokenizer`, in a folder with vocab.json and merges.txt alone."""
    made = Tokenizer.from_file(str(clip_tokenizer(folder) / "tokenizer.json"))
    made.model.save(str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return folder
