"""The prompt as a release reads it: cleaned and encoded by T5, for v2.0 by CLIP too."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...conditioning.prompts import split_schedule, text_of_loop
from ...errors import InvalidInputError
from ...ops import Ops
from ...releases.prompts import clip_prompts, t5_prompts
from ...releases.release import Release
from ...releases.task import Text
from ...releases.wording import Scores
from ...serialization.array_cache import ArrayCache
from ...serialization.trial import check_writable
from ...text.warning import PromptWarning
from .components import ReleaseFiles
from .embeds import with_negative
from .request import PublishedRequest

MAX_PUBLISHED_PROMPT = 20_000  # characters, far more than any text encoder reads
RECORDED = 30_000  # bytes of a text as ASCII JSON, so that a prompt and a negative one fit into a file's comment


def recorded(**texts: str | None) -> dict[str, str]:
    """Texts that were said, for a video's metadata; a PromptWarning tells of one that is too long for it and is cut."""
    kept = {}
    for name, text in texts.items():
        if text is None:
            continue
        kept[name] = _shortened(text)
        if kept[name] != text:
            warnings.warn(
                f"the {name} has {len(text)} characters, of which the video's metadata keeps {len(kept[name])}",
                PromptWarning,
                stacklevel=2,
            )
    return kept


def _shortened(text: str) -> str:
    """The beginning of a text that takes at most `RECORDED` bytes."""
    sizes = np.cumsum([len(json.dumps(letter)) - 2 for letter in text])
    return text[: int(np.searchsorted(sizes, RECORDED, side="right"))]


def worded(release: Release, prompt: str, scores: Scores, clips: int) -> list[str]:
    """The prompt of every clip of a video: the part of its schedule that holds there, with the scores at its end."""
    segments = [part._replace(text=release.wording(part.text, scores)) for part in split_schedule(prompt)]
    return [text_of_loop(segments, clip) for clip in range(clips)]


def embeddings_cache(folder: str | Path | None) -> ArrayCache | None:
    """The cache of text features in a folder, or in that of OPENSORA_CACHE; None without either.

    Raises InvalidInputError for a folder that cannot be written to.
    """
    folder = folder or os.environ.get("OPENSORA_CACHE")
    if not folder:
        return None
    features = Path(folder) / "embeddings"
    try:
        features.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot keep text features in {folder}: {error.strerror}") from error
    check_writable(features / "trial")
    return ArrayCache(features)


def texts_of(
    ops: Ops,
    files: ReleaseFiles,
    request: PublishedRequest,
    prompts: Sequence[str],
    avoided: str | None,
    embeds: Text | None,
    negative: Text | None,
    cache: ArrayCache | None = None,
) -> list[Text]:
    """What every prompt shows and what to stay away from, as the denoiser reads it.

    avoided: the negative prompt. embeds, negative: features in the place of either; all prompts then show the same.
    """
    if embeds is None:
        texts = read_texts(ops, files, prompts, avoided, cache)
    else:
        texts = [embeds] * len(prompts)
        if avoided is not None:
            [negative] = read_texts(ops, files, [avoided], None, cache)
    return with_negative(request, texts, negative)


def read_texts(
    ops: Ops,
    files: ReleaseFiles,
    prompts: Sequence[str],
    negative_prompt: str | None,
    cache: ArrayCache | None = None,
) -> list[Text]:
    """Encode prompts, each different one once; T5 stays in its file and is read block by block.

    cache: of features, from which what was encoded before comes.

    Raises InvalidInputError where the release's text encoders are not there: give prompt_embeds instead.
    """
    pooled, different = files.release.pooled, list(dict.fromkeys(prompts))
    wanted = different if negative_prompt is None and not pooled else [*different, negative_prompt or ""]
    t5 = t5_prompts(ops, files.t5.path, files.release.name, cache=cache)
    vectors = clip_prompts(ops, files.clip.path, cache=cache)(wanted).features if pooled else None
    features, mask = t5(wanted)
    texts = {}
    for i, prompt in enumerate(different):
        row = slice(i, i + 1)
        negative = None if len(wanted) == len(different) else (features[-1:], mask[-1:])
        texts[prompt] = Text(features[row], mask[row], negative)
        if vectors is not None:
            texts[prompt] = texts[prompt]._replace(pooled=vectors[row], negative_pooled=vectors[-1:])
    return [texts[prompt] for prompt in prompts]
