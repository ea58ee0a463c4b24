"""The prompt as a release reads it: cleaned and encoded by T5, for v2.0 by CLIP too."""

from __future__ import annotations

from ...ops import Ops
from ...releases.prompts import clip_prompts, t5_prompts
from ...releases.task import Text
from ..inputs import check_prompt
from .components import ReleaseFiles


def read_text(ops: Ops, files: ReleaseFiles, prompt: str, negative_prompt: str | None) -> Text:
    """Encode a prompt; T5 stays in its file and is read block by block.

    Raises InvalidInputError where the release's text encoders are not there: give prompt_embeds instead.
    """
    check_prompt("prompt", prompt, may_be_empty=True)
    check_prompt("negative_prompt", negative_prompt or "", may_be_empty=True)
    pooled = files.release.pooled
    wanted = [prompt] if negative_prompt is None and not pooled else [prompt, negative_prompt or ""]
    features, mask = t5_prompts(ops, files.t5.path, files.release.name)(wanted)
    negative = None if len(wanted) == 1 else (features[1:], mask[1:])
    if not pooled:
        return Text(features[:1], mask[:1], negative)
    vectors = clip_prompts(ops, files.clip.path)(wanted).features
    return Text(features[:1], mask[:1], negative, vectors[:1], vectors[1:])
