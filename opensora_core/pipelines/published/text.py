"""The prompt as a release reads it: cleaned and encoded by T5, for v2.0 by CLIP too."""

from __future__ import annotations

from collections.abc import Sequence

from ...conditioning.prompts import split_schedule, text_of_loop
from ...ops import Ops
from ...releases.prompts import clip_prompts, t5_prompts
from ...releases.release import Release
from ...releases.task import Text
from ...releases.wording import Scores
from .components import ReleaseFiles


def worded(release: Release, prompt: str, scores: Scores, clips: int) -> list[str]:
    """The prompt of every clip of a video: the part of its schedule that holds there, with the scores at its end."""
    segments = [part._replace(text=release.wording(part.text, scores)) for part in split_schedule(prompt)]
    return [text_of_loop(segments, clip) for clip in range(clips)]


def read_texts(ops: Ops, files: ReleaseFiles, prompts: Sequence[str], negative_prompt: str | None) -> list[Text]:
    """Encode prompts, each different one once; T5 stays in its file and is read block by block.

    Raises InvalidInputError where the release's text encoders are not there: give prompt_embeds instead.
    """
    pooled, different = files.release.pooled, list(dict.fromkeys(prompts))
    wanted = different if negative_prompt is None and not pooled else [*different, negative_prompt or ""]
    features, mask = t5_prompts(ops, files.t5.path, files.release.name)(wanted)
    vectors = clip_prompts(ops, files.clip.path)(wanted).features if pooled else None
    texts = {}
    for i, prompt in enumerate(different):
        row = slice(i, i + 1)
        negative = None if len(wanted) == len(different) else (features[-1:], mask[-1:])
        texts[prompt] = Text(features[row], mask[row], negative)
        if vectors is not None:
            texts[prompt] = texts[prompt]._replace(pooled=vectors[row], negative_pooled=vectors[-1:])
    return [texts[prompt] for prompt in prompts]
