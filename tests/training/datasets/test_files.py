"""Batches of files: the same whoever asks and however many do, broken files aside, the second epoch from the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.media import decode
from opensora_core.serialization.array_cache import ArrayCache
from opensora_core.text.tokenizer import WordTokenizer
from opensora_core.training.data import make_batch, prefetch
from opensora_core.training.datasets.files import TrainingFiles
from tests.training.datasets.clips import encoders, write_clip, write_folder
from tests.training.tiny import recipe

CLIP = {"num_frames": 5, "height": 16, "width": 24, "batch_size": 2, "fps": [4.0, 8.0]}
STILL = {"num_frames": 1, "height": 16, "width": 16, "batch_size": 3}
TOKENIZER = WordTokenizer(["red"], 3)


def learning_from(data: Path, *buckets: dict, **stage: object):
    values = {"name": "files", "steps": 40, "data": str(data), **({"buckets": list(buckets)} if buckets else {})}
    return recipe(stages=[{"name": "world", "steps": 2, "buckets": [STILL]}, {**values, **stage}])


def digest(batch) -> tuple:
    return batch.bucket, batch.files, *((name, a.tobytes()) for name, a in sorted(batch.arrays.items()))


def test_batches_do_not_depend_on_the_workers_nor_on_where_one_begins(tmp_path):
    made = learning_from(write_folder(tmp_path / "data", videos=3), CLIP, STILL, mask_ratios={"random": 0.5}, moments=2)

    def batches(workers: int, first: int = 0) -> list[tuple]:
        files = TrainingFiles(made, encoders(), ArrayCache(tmp_path / f"cache{workers}"))

        def make(step: int):
            return make_batch(made, step, TOKENIZER, np.zeros_like, files)

        return [digest(batch) for batch in prefetch(make, max(first, 2), 10, workers=workers)]

    alone = batches(1)
    assert batches(3) == alone
    assert batches(2, first=7) == alone[5:]
    assert {bucket.num_frames for bucket, *_ in alone} == {1, 5}


def test_a_batch_of_files_holds_what_the_objective_wants(tmp_path):
    data = write_folder(tmp_path / "data", videos=2, pictures=0)
    made = learning_from(data, CLIP)
    batch = make_batch(made, 2, TOKENIZER, np.zeros_like, TrainingFiles(made, encoders()))
    assert {name: a.shape for name, a in batch.arrays.items()} == {
        "latents": (2, 3, 2, 2, 3), "noise": (2, 3, 2, 2, 3), "t": (2,), "text": (2, 3, 2), "text_mask": (2, 3),
        "fps": (2,), "drop": (2,), "x_mask": (2, 2),
    }  # fmt: skip
    assert set(batch.files) == {str(data / "clip0.mp4"), str(data / "clip1.mp4")}
    captions = [Path(name).with_suffix(".txt").read_text().strip() for name in batch.files]
    assert batch.arrays["text"][:, 0, 0].tolist() == [len(caption) for caption in captions]


def test_the_second_epoch_decodes_nothing_and_encodes_nothing(tmp_path, monkeypatch):
    made = learning_from(write_folder(tmp_path / "data"), CLIP)
    calls: list[str] = []
    files = TrainingFiles(made, encoders(calls), ArrayCache(tmp_path / "cache"))
    first = [files.clips(step) for step in (2, 3)]
    assert (calls.count("frames"), calls.count("text")) == (4, 4)
    again = TrainingFiles(made, encoders(calls), ArrayCache(tmp_path / "cache"))  # as after a restart
    opened = []
    monkeypatch.setattr(decode, "_open", lambda path, *_: opened.append(path))
    second = {name: latents for step in (4, 5) for name, latents in zip(*_named(files.clips(step)), strict=True)}
    for step, clips in zip((2, 3), first, strict=True):
        assert np.array_equal(again.clips(step).latents, clips.latents)
        assert all(np.array_equal(second[name], a) for name, a in zip(*_named(clips), strict=True))
    assert (len(calls), opened) == (8, [])
    assert again.cache.bytes == sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*.safetensors"))


def _named(clips):
    return clips.names, clips.latents


def test_a_file_is_known_by_its_content_and_a_damaged_entry_is_made_anew(tmp_path):
    data = write_folder(tmp_path / "data", videos=1, pictures=0)
    made = learning_from(data, CLIP)
    calls: list[str] = []
    before = TrainingFiles(made, encoders(calls), ArrayCache(tmp_path / "cache")).clips(2).latents
    for entry in (tmp_path / "cache").rglob("*.safetensors"):
        entry.write_bytes(entry.read_bytes()[:-1])
    assert np.array_equal(TrainingFiles(made, encoders(calls), ArrayCache(tmp_path / "cache")).clips(2).latents, before)
    write_clip(data / "clip0.mp4", 50)
    assert not np.array_equal(
        TrainingFiles(made, encoders(calls), ArrayCache(tmp_path / "cache")).clips(2).latents, before
    )
    assert calls.count("frames") == 3


def test_a_full_cache_takes_nothing_more_and_training_goes_on(tmp_path):
    made = learning_from(write_folder(tmp_path / "data"), CLIP)
    calls: list[str] = []
    cache = ArrayCache(tmp_path / "cache", limit=800)
    files = TrainingFiles(made, encoders(calls), cache)
    for step in range(2, 8):
        files.clips(step)
    assert cache.is_full
    assert 0 < cache.bytes <= 1000
    assert calls.count("frames") > 4


def test_a_file_that_cannot_be_read_is_replaced_and_named(tmp_path):
    data = write_folder(tmp_path / "data", videos=3, pictures=0)
    (data / "train.csv").write_text(
        "path,text,num_frames,height,width,fps\n"
        + "".join(f"clip{i}.mp4,a clip,9,24,32,8\n" for i in range(3))
        + "gone.mp4,it went,9,24,32,8\nclip0.mp4,it promises too much,900,24,32,8\n"
    )
    made = learning_from(data, {**CLIP, "batch_size": 5})
    files = TrainingFiles(made, encoders())
    assert files.skipped.reasons == {}
    batches = [files.clips(step) for step in range(2, 6)]
    assert all(len(clips.names) == 5 and str(data / "gone.mp4") not in clips.names for clips in batches)
    reasons = files.skipped.news()
    assert "No such file" in reasons[str(data / "gone.mp4")]
    assert (
        "manifest promises" in reasons[str(data / "clip0.mp4")] or "beyond the end" in reasons[str(data / "clip0.mp4")]
    )
    assert files.skipped.news() == {}
    assert files.skipped.summary().startswith("2 files were skipped: ")
    for i in range(3):
        (data / f"clip{i}.mp4").write_bytes(b"no longer")
    with pytest.raises(InvalidInputError, match=r"stage 'files': none of the 5 files for Bucket.* can be read"):
        TrainingFiles(made, encoders()).clips(2)


def test_a_share_of_every_batch_is_rendered_and_an_epoch_still_has_every_file_once(tmp_path):
    data = write_folder(tmp_path / "data", videos=4, pictures=0)
    made = learning_from(data, {**CLIP, "batch_size": 5}, world_share=0.6, world="full")
    files, rendered = TrainingFiles(made, encoders()), []

    def encode(frames):
        rendered.append(frames.shape)
        return np.full((len(frames), 3, 2, 2, 3), 7, np.float32)

    batches = [make_batch(made, step, TOKENIZER, encode, files) for step in (2, 3)]
    assert rendered == [(3, 5, 16, 24, 3)] * 2
    assert sorted(name for batch in batches for name in batch.files) == [str(data / f"clip{i}.mp4") for i in range(4)]
    for batch in batches:
        assert {len(a) for a in batch.arrays.values()} == {batch.bucket.batch_size} == {5}
        assert [bool((a == 7).all()) for a in batch.arrays["latents"]] == [False, False, True, True, True]
    again = make_batch(made, 3, TOKENIZER, encode, TrainingFiles(made, encoders()))
    assert digest(again) == digest(batches[1])


def test_an_empty_bucket_says_what_is_there_and_what_to_do(tmp_path):
    data = write_folder(tmp_path / "data", videos=2)
    with pytest.raises(InvalidInputError, match=r"no file of .* for the bucket of 33 frames at 8 fps; the longest, .*"
                       r"clip1.mp4, has 13 at 8 fps. Lower num_frames"):  # fmt: skip
        TrainingFiles(learning_from(data, CLIP, {**CLIP, "num_frames": 33}), encoders())
    with pytest.raises(InvalidInputError, match="no batch came about in 100 epochs"):
        TrainingFiles(learning_from(data, bucket_config={"144p": {"51": [1.0, 2]}}), encoders())
    skipped = TrainingFiles(learning_from(data, {**CLIP, "num_frames": 11, "fps": [8.0]}), encoders()).skipped.reasons
    assert {Path(name).name: reason for name, reason in skipped.items()} == {
        "clip0.mp4": "9 frames at 8 fps: too short for every bucket of stage 'files'",
        **{f"still{i}.png": "a picture: too short for every bucket of stage 'files'" for i in range(2)},
    }


def test_steps_are_shared_by_weight(tmp_path):
    data = write_folder(tmp_path / "data", videos=8, pictures=0)
    files = TrainingFiles(learning_from(data, {**CLIP, "weight": 3}, STILL, steps=200), encoders())
    drawn = [sampler.draw(step).bucket for _, sampler in files._stages.values() for step in range(150)]
    assert sum(bucket.num_frames == 5 for bucket in drawn) / 150 == pytest.approx(0.7, abs=0.1)


def test_an_official_bucket_config_sorts_files_by_size_and_length(tmp_path):
    data = tmp_path / "data"
    write_clip(data / "long.mp4", 0, 14, 144, 256)
    write_clip(data / "short.mp4", 1, 6, 192, 192)
    write_clip(data / "small.mp4", 2, 14, 96, 96)
    write_clip(data / "still.png", 3, 1, 256, 144)
    config = {"144p": {"1": [1.0, 1], "4": [1.0, 1], "6": [[1.0, 1.0], 1]}}
    files = TrainingFiles(learning_from(data, bucket_config=config, frame_interval=2), encoders())
    seen = {Path(clips.names[0]).name: clips for clips in map(files.clips, range(2, 4))}
    shapes = {name: (clips.bucket.num_frames, *clips.latents.shape[3:], clips.fps) for name, clips in seen.items()}
    assert shapes == {"long.mp4": (6, 18, 32, [4.0]), "still.png": (1, 32, 18, [120.0])}
