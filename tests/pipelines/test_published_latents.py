"""Latents are on the disk before they are decoded, and make the same video later."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensora_core.errors import CancelledError, FileFormatError, InvalidInputError, LimitError
from opensora_core.media.video import Video
from opensora_core.pipelines.published import running
from opensora_core.pipelines.published.later import decode_latents
from opensora_core.serialization.writer import write_safetensors
from tests.pipelines.tiny_published import IMAGE, SMALL, TEXT, published, write_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All releases."""
    return write_models(tmp_path_factory.mktemp("published"))


def asked(**options: Any) -> dict[str, Any]:
    return {**SMALL, "prompt_embeds": TEXT, **options}


def test_a_decoding_that_runs_out_of_memory_loses_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = published(folder, "v1.2")
    expected = model.generate_from_text("a cat", **asked(num_frames=34, clip_frames=34, step_cache=2))
    assert list(tmp_path.iterdir()) == [], "all was decoded"
    with monkeypatch.context() as patch:
        patch.setattr(running, "decode", lambda *rest: np.empty(2**50))
        with pytest.raises(
            LimitError, match=r"does not fit into memory .* the latents are kept in .*/opensora-latents"
        ):
            model.generate_from_text("a cat", **asked(num_frames=34, clip_frames=34, step_cache=2))
    [file] = tmp_path.iterdir()
    later = decode_latents(file, folder / "vae-v1.2", backend="numpy")
    assert later == expected
    assert later.metadata == expected.metadata
    with pytest.raises(InvalidInputError, match=r"need the autoencoder TwoStageVAE, found nowhere in .*/vae:"):
        decode_latents(file, folder / "vae", backend="numpy")


def test_a_long_video_and_one_that_goes_on_are_made_of_their_file(folder: Path, tmp_path: Path) -> None:
    model, file = published(folder, "v1.1"), tmp_path / "l.safetensors"
    clip = Video(np.stack([IMAGE] * 5), 8.0)
    options = {**asked(latents_file=file, clip_frames=6), "height": None, "width": None}
    longer = model.extend_video(clip, num_frames=3, **options)
    assert decode_latents(file, folder, folder / "vae", backend="numpy") == longer
    stopped = lambda model, step, timestep, state: step < 3  # noqa: E731  in the second clip
    with pytest.raises(CancelledError, match=r"stopped .* the latents are kept in .*l\.safetensors: `opensora decode`"):
        model.generate_from_text(
            "", **asked(latents_file=file, num_frames=9, clip_frames=6), callback_on_step_end=stopped
        )
    assert decode_latents(file, folder / "vae", backend="numpy").num_frames == 6


def test_smaller_parts_of_decoding_are_set_beside_the_autoencoder(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "l.safetensors"
    options = {**asked(latents_file=kept), "num_inference_steps": 1, "num_frames": 33}
    video = published(folder, "v2.0").generate_from_text("a cat", **{**options, "prompt_embeds": None})
    smaller = tmp_path / "smaller"
    shutil.copytree(folder / "vae-v2.0", smaller)
    (smaller / "config.json").write_text('{"use_temporal_tiling": true, "sample_tsize": 16}')
    again = decode_latents(kept, smaller, backend="numpy")
    assert decode_latents(kept, folder / "vae-v2.0", backend="numpy") == video
    assert again.shape == video.shape
    assert (again.frames != video.frames).any(), "tiles are normalised each for itself"


def test_a_file_that_no_generation_wrote_is_refused(folder: Path, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", {"clip0": np.zeros((1, 4, 1, 2, 2), np.float32)})
    with pytest.raises(FileFormatError, match=r"no generation wrote it"):
        decode_latents(tmp_path / "a.safetensors", folder / "vae", backend="numpy")


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(folder: Path, tmp_path: Path) -> None:
    reads = pytest.fail
    with pytest.raises(InvalidInputError, match=r"the folder .*/none does not exist"):
        published(folder, "v1.1").generate_from_text(
            "", **asked(latents_file=tmp_path / "none" / "l.safetensors", callback_on_step_end=reads)
        )
