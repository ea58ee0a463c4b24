"""Text features handed to published releases in place of a prompt, and of what to stay away from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError, NonFiniteError
from opensora_core.media.video import Video
from opensora_core.pipelines.published.model import PublishedOpenSora
from opensora_core.pipelines.published.text import recorded
from opensora_core.releases.prompts import PromptFeatures, clip_prompts, t5_prompts
from opensora_core.releases.task import Text
from opensora_core.text.clip import CLIPText
from opensora_core.text.t5_streamed import StreamedT5
from opensora_core.text.warning import PromptWarning
from tests.pipelines.tiny_published import SMALL, TEXT, published, write_models

FEATURES, OTHER = TEXT.features, -TEXT.features
VECTOR = np.ones((1, 64), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All releases."""
    return write_models(tmp_path_factory.mktemp("published"))


def made(model: PublishedOpenSora, prompt: str = "", **options: Any) -> np.ndarray:
    frames = 16 if model.files.release.name == "v1.1" else 17
    return model.generate_from_text(prompt, num_frames=frames, **{**SMALL, **options}).frames


def test_features_may_be_an_array_and_the_negative_ones_are_guided_away_from(folder: Path) -> None:
    model = published(folder, "v1.1")
    plain = made(model, prompt_embeds=FEATURES)
    whole = TEXT._replace(mask=np.ones((1, 6), bool))
    np.testing.assert_array_equal(made(model, prompt_embeds=whole), plain)
    avoided = made(model, prompt_embeds=FEATURES, negative_prompt_embeds=OTHER)
    assert (avoided != plain).any()
    np.testing.assert_array_equal(made(model, prompt_embeds=PromptFeatures(FEATURES, whole.mask)), plain)
    both = whole._replace(negative=(OTHER, whole.mask))
    np.testing.assert_array_equal(made(model, prompt_embeds=both), avoided)


@pytest.mark.parametrize("release", ["v1.2", "v2.0"])
def test_features_of_the_encoders_make_what_their_texts_make(folder: Path, release: str) -> None:
    model = published(folder, release)
    texts = ["a cat. 24 FPS. 4 motion score." if release == "v2.0" else "a cat aesthetic score: 6.5.", "a dog"]
    features, mask = t5_prompts(model.ops, folder / "t5", release)(texts)
    vectors = clip_prompts(model.ops, folder / "clip")(texts).features
    cat, dog = (Text(features[i : i + 1], mask[i : i + 1], pooled=vectors[i : i + 1]) for i in range(2))
    expected = made(model, "a cat", negative_prompt="a dog")
    np.testing.assert_array_equal(made(model, prompt_embeds=cat, negative_prompt_embeds=dog), expected)
    np.testing.assert_array_equal(made(model, "a cat", negative_prompt_embeds=dog), expected)
    np.testing.assert_array_equal(made(model, prompt_embeds=cat, negative_prompt="a dog"), expected)


@pytest.mark.parametrize(
    ("release", "options", "words"),
    [
        (
            "v1.1",
            {"prompt_embeds": FEATURES[..., :4]},
            r"prompt_embeds of shape \(1, 6, 4\) must have shape \(1, 6, 8\)",
        ),
        ("v1.1", {"prompt_embeds": FEATURES[0]}, r"of shape \(6, 8\) must have shape \(1, L, 8\)"),
        ("v1.1", {"prompt_embeds": np.zeros((1, 301, 8))}, "hold 301 tokens; v1.1 reads at most 300"),
        ("v1.1", {"prompt_embeds": Text(FEATURES, np.ones((1, 5), bool))}, r"has shape \(1, 5\); expected \(1, 6\)"),
        ("v1.1", {"prompt_embeds": FEATURES, "negative_prompt_embeds": OTHER[:, :5]}, "that of the prompt's"),
        ("v1.1", {"prompt_embeds": Text(FEATURES, np.zeros((1, 6), bool))}, "hides every token"),
        ("v1.1", {"prompt_embeds": Text(FEATURES, None)}, r"prompt_embeds need a mask of shape \(1, 6\)"),
        ("v1.2", {"prompt_embeds": TEXT, "motion_score": 3}, "motion_score=3 is said in the prompt, so it has no eff"),
        ("v1.1", {"prompt_embeds": [[1.0], [1.0, 2.0]]}, r"must be features \[1, L, C\] or a Text, not a list"),
        (
            "v1.2",
            {"prompt_embeds": FEATURES, "negative_prompt": "x"},
            r"6 tokens, but a negative prompt of v1\.2 has 300",
        ),
        ("v1.1", {"negative_prompt_embeds": OTHER, "negative_prompt": "x"}, "both say what to avoid"),
        ("v2.0", {"prompt_embeds": FEATURES}, r"prompt_embeds.pooled of shape None must have shape \(1, 64\)"),
        ("v2.0", {"prompt_embeds": TEXT._replace(pooled=VECTOR)}, "give negative_prompt_embeds"),
    ],
)
def test_features_that_do_not_fit_are_refused(folder: Path, release: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        made(published(folder, release), **options)


def test_a_prompt_may_be_longer_than_the_text_encoder_reads(folder: Path) -> None:
    options = {"num_frames": 1, **SMALL}
    model, long = published(folder, "v1.2"), "a cat sits on a mat. " * 200
    with pytest.warns(PromptWarning, match=r"is too long: \d+ of \d+ tokens are cut off, since 300 fit"):
        video = model.generate_from_text(long, **options)
    assert video.metadata["prompt"] == long
    with pytest.raises(InvalidInputError, match="has 20001 characters; at most 20000 are allowed"):
        model.generate_from_text("a" * 20_001, **options)


def test_what_is_recorded_of_prompts_fits_into_a_file(tmp_path: Path) -> None:
    with pytest.warns(PromptWarning, match="has 20000 characters, of which the video's metadata keeps 2500"):
        kept = recorded(prompt="\U0001f600" * 20_000, negative_prompt="a" * 20_000)
    assert (len(kept["prompt"]), len(kept["negative_prompt"])) == (2500, 20_000)
    assert recorded(prompt="", negative_prompt=None) == {"prompt": ""}
    video = Video(np.zeros((1, 16, 16, 3), np.uint8), 8.0, kept)
    video.save(tmp_path / "a.mp4")
    assert Video.load(tmp_path / "a.mp4").metadata == kept


def test_a_video_of_features_tells_no_scores(folder: Path) -> None:
    options = {"num_frames": 1, "prompt_embeds": TEXT, "aesthetic_score": "off", **SMALL}
    told = published(folder, "v1.2").generate_from_text("", **options).metadata
    assert not [name for name in told if name.endswith("_score")]


def test_features_must_be_finite(folder: Path) -> None:
    broken = FEATURES.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="negative_prompt_embeds hold NaN or Inf"):
        made(published(folder, "v1.1"), prompt_embeds=FEATURES, negative_prompt_embeds=broken)


def test_a_distilled_v2_0_needs_no_negative_features(folder: Path) -> None:
    frames = made(published(folder, "distilled"), prompt_embeds=TEXT._replace(pooled=VECTOR), sampler="distilled")
    assert frames.std() > 1


def test_a_prompt_is_encoded_once_with_a_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSORA_CACHE", str(tmp_path))
    first = made(published(folder, "v2.0"), "a cat")
    assert len(list(tmp_path.glob("embeddings/??/*.safetensors"))) == 4, "T5 and CLIP, the prompt and an empty one"
    for encoder in (StreamedT5, CLIPText):
        monkeypatch.setattr(encoder, "__call__", lambda *rest: pytest.fail("the prompt was encoded before"))
    np.testing.assert_array_equal(made(published(folder, "v2.0"), "a cat"), first)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match=r"cannot keep text features in .*/file: Not a directory"):
        PublishedOpenSora(folder / "v1.2", cache=tmp_path / "file")
