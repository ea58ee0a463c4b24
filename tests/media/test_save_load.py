"""What is saved comes back: exactly where the format allows, near where it compresses; whole or not at all."""

from __future__ import annotations

import math
import os
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from opensora_core.errors import InvalidInputError
from opensora_core.media import Video, encode, read_video
from opensora_core.media.yuv import to_yuv420
from tests.media.clips import moving_square, numbered, numbers, waves

SIZES = [(6, 64, 64), (5, 33, 47), (1, 33, 47), (3, 1, 1), (2, 2, 3)]


@pytest.mark.parametrize(("T", "H", "W"), SIZES)
@pytest.mark.parametrize("name", ["clip.gif", "clip.webp", "clip/", "clip", "clip.mp4"])
def test_size_rate_and_metadata_come_back(tmp_path: Path, name: str, T: int, H: int, W: int) -> None:
    video = moving_square(T, H, W, fps=12.5)
    path = video.save(f"{tmp_path}/{name}")
    loaded = Video.load(path)
    assert (loaded.shape, loaded.fps, loaded.metadata) == (video.shape, video.fps, video.metadata)
    if path.suffix != ".mp4":
        assert loaded == video  # few colours: every pixel
    assert os.listdir(tmp_path) == [path.name]


# Measured 41.5, 27.3, 44.0 and 37.4 dB. At size 1, halved colour resolution, not compression, bounds the sharp clip.
@pytest.mark.parametrize(
    ("video", "options", "bound"),
    [
        (waves(T=16), {}, 40),
        (moving_square(T=16), {}, 26),
        (moving_square(T=16), {"scale": 4}, 42),
        (waves(T=16), {"crf": 18}, 36),
    ],
)
def test_mp4_is_near(tmp_path: Path, video: Video, options: dict, bound: float) -> None:
    loaded = Video.load(video.save(tmp_path / "clip.mp4", **options))
    assert video.psnr(loaded) > bound


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 100, 50)])
def test_mp4_keeps_plain_colours(tmp_path: Path, color: tuple[int, int, int]) -> None:
    video = Video(np.full((3, 34, 18, 3), color, np.uint8), 8)
    loaded = Video.load(video.save(tmp_path / "clip.mp4"))
    assert np.abs(loaded.frames.astype(int) - color).max() <= 2


def test_mp4_is_what_players_want(tmp_path: Path) -> None:
    path = moving_square(T=5, H=33, W=47, fps=30000 / 1001).save(tmp_path / "clip.mp4")
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays while it downloads
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.height, context.width) == ("h264", "yuv420p", 34, 48)
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited
        assert stream.average_rate.as_integer_ratio() == (30000, 1001)
        assert stream.frames == 5
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert np.abs(frames[0][33].astype(int) - frames[0][32]).max() < 40  # the padding repeats the edge


def test_colour_of_mp4_is_sampled_at_the_left_pixel() -> None:
    step = np.zeros((2, 8, 3), np.uint8)
    step[:, 4:] = (0, 0, 255)
    U = to_yuv420(step)[2].reshape(2, 4)[0]  # one row of U, then one of V
    assert U.tolist() == [128, 128, 212, 240]  # (1 2 1) / 4 around columns 0, 2, 4, 6: the third sees 3/4 blue


@pytest.mark.parametrize("suffix", [".mp4", ".webp"])
def test_the_same_video_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    first, second = (moving_square().save(tmp_path / (name + suffix)).read_bytes() for name in "ab")
    assert first == second


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    fps=st.floats(0.5, 60),
    seed=st.integers(0, 1000),
    still=st.booleans(),
    name=st.sampled_from(["clip.webp", "clip"]),
)
def test_lossless_formats_keep_every_pixel(tmp_path_factory, shape, fps, seed, still, name) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    if still:
        frames[:] = frames[:1]  # encoders store repeated frames as one
    video = Video(frames, fps, {"seed": seed})
    assert Video.load(video.save(tmp_path_factory.mktemp("clip") / name)) == video


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("fps", [3, 8, 24, 29.97, 50])
def test_frames_that_repeat_keep_their_place(tmp_path: Path, suffix: str, fps: float) -> None:
    frames = numbered(4, fps).frames[[0, 0, 0, 1, 2, 2, 3, 3, 3, 3]]
    video = Video(frames, fps)
    assert Video.load(video.save(tmp_path / f"clip{suffix}")) == video


def test_gif_of_many_colours_is_near(tmp_path: Path) -> None:
    video = waves()
    assert video.psnr(Video.load(video.save(tmp_path / "clip.gif"))) > 26  # measured 28.1: 256 colours a frame


def test_lossy_webp_is_smaller_and_near(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 6, (6, 64, 64, 3))
    video = Video((waves().frames + noise).clip(0, 255).astype(np.uint8), 24)
    exact = video.save(tmp_path / "exact.webp")
    lossy = video.save(tmp_path / "lossy.webp", lossless=False)
    assert Video.load(exact) == video
    assert 28 < video.psnr(Video.load(lossy)) < math.inf
    assert lossy.stat().st_size < exact.stat().st_size / 2


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif", "clip.webp", "clip/"])
def test_scale_enlarges_the_file_and_is_undone(tmp_path: Path, name: str) -> None:
    video = numbered(3, 8, H=5, W=7)
    path = video.save(f"{tmp_path}/{name}", scale=4)
    loaded = Video.load(path)
    assert (loaded.shape, numbers(loaded)) == (video.shape, [0, 1, 2])
    if path.suffix == ".gif":
        with Image.open(path) as image:
            assert image.size == (28, 20)


def test_png_holds_one_frame_and_says_where_more_go(tmp_path: Path) -> None:
    video = moving_square()
    path = video[3].save(tmp_path / "frame.png")
    assert Video.load(path) == video[3]
    with Image.open(path) as image:
        assert "seed" in image.text["Comment"]
    with pytest.raises(InvalidInputError, match=r"into the folder '.*/clip/', or save a contact sheet"):
        video.save(tmp_path / "clip.png")


def test_an_existing_folder_takes_frames(tmp_path: Path) -> None:
    folder = tmp_path / "frames.v1"  # has a suffix, is a folder
    folder.mkdir()
    moving_square(T=4).save(folder)
    moving_square(T=2).save(folder)  # an older clip is replaced whole
    assert sorted(os.listdir(folder)) == ["frame_0000.png", "frame_0001.png", "manifest.json"]
    assert Video.load(folder) == moving_square(T=2)


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidInputError, match="is not replaced"):
        moving_square().save(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif", "clip.webp", "clip/"])
def test_a_path_that_cannot_be_written_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="does not exist"):
        moving_square().save(f"{tmp_path}/absent/{name}")
    with pytest.raises(InvalidInputError, match="file"):
        moving_square().save(f"{tmp_path}/file/{name}")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("name", "options", "fps", "message"),
    [
        ("clip.avi", {}, 8, "choose .mp4"),
        ("", {}, 8, "choose .mp4"),
        ("clip.gif", {}, 51, "at most 50 frames"),
        ("clip.webp", {}, 120, "at most 90 frames"),
        ("clip.mp4", {"lossless": True}, 8, ".webp"),
        ("clip.mp4", {"crf": 52}, 8, "0 .*51"),
        ("clip.mp4", {"scale": 0}, 8, "scale"),
        ("clip.mp4", {"scale": 1.5}, 8, "scale"),
    ],
)
def test_what_a_format_cannot_do_is_refused(tmp_path: Path, monkeypatch, name, options, fps, message) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=message):
        moving_square(fps=fps).save(name, **options)
    assert os.listdir(tmp_path) == []


def test_what_is_too_wide_for_a_format_is_refused(tmp_path: Path) -> None:
    wide = Video(np.zeros((1, 1, 300, 3), np.uint8), 8)
    with pytest.raises(InvalidInputError, match="16384 pixels a side"):
        wide.save(tmp_path / "clip.mp4", scale=64)


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(("name", "part"), [("clip.mp4", "to_yuv420"), ("clip/", "_write_png")])
def test_a_failing_encoder_leaves_nothing_and_keeps_what_was(tmp_path: Path, monkeypatch, name, part, failure) -> None:
    before = moving_square(T=2)
    path = before.save(f"{tmp_path}/{name}")
    kept = Video.load(path)
    original = getattr(encode, part)
    calls = []

    def fails_later(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise failure("injected")
        return original(*arguments)

    monkeypatch.setattr(encode, part, fails_later)
    with pytest.raises(failure, match="injected"):
        waves().save(path)
    assert len(calls) == 4
    assert os.listdir(tmp_path) == [path.name]
    assert Video.load(path) == kept


@pytest.mark.parametrize("name", ["clip.gif", "clip.webp"])
def test_a_failing_picture_encoder_leaves_nothing(tmp_path: Path, monkeypatch, name: str) -> None:
    def half(self: Image.Image, path: Path, *arguments: object, **options: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError("injected")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="injected"):
        moving_square().save(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_file_edited_elsewhere_keeps_its_new_size(tmp_path: Path) -> None:
    """Programs that resize a video copy its comment, which then no longer fits."""
    path = moving_square(T=1, H=32, W=32).save(tmp_path / "small.gif")
    with Image.open(path) as image:
        comment = image.info["comment"]
        image.resize((48, 48)).save(tmp_path / "big.gif", comment=comment)
    assert read_video(tmp_path / "big.gif").shape == (1, 48, 48, 3)


def test_what_a_format_cannot_hold_is_known_before_there_are_frames():
    zeros = np.broadcast_to(np.uint8(0), (20_000, 4000, 4000, 3))  # 900 GiB, of which not one byte exists
    assert encode.check(Video(zeros, 24.0), "a.mp4") == ".mp4"
    assert encode.check(Video(zeros, 24.0), "frames/") == ""
    with pytest.raises(InvalidInputError, match="would have 20000"):
        encode.check(Video(zeros, 24.0), "a.mp4", scale=5)
    with pytest.raises(InvalidInputError, match="at most 50 frames a second"):
        encode.check(Video(zeros, 60.0), "a.gif")
    with pytest.raises(InvalidInputError, match=r"'\.avi'"):
        encode.suffix_of("a.avi")


@pytest.mark.parametrize("name", ["a.png", "frames/"])
def test_an_existing_file_is_left_alone_when_overwriting_is_not_allowed(name, tmp_path):
    old, new = (Video(np.full((1, 8, 8, 3), level, np.uint8), 8.0) for level in (10, 200))
    path = f"{tmp_path}/{name}"
    old.save(path, overwrite=False)
    with pytest.raises(InvalidInputError, match="exists already"):
        new.save(path, overwrite=False)
    assert Video.load(path) == old
