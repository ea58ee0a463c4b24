"""Whatever users bring becomes a clip, or an error that says what is wrong with it."""

from __future__ import annotations

import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from opensora_core.errors import FileFormatError, InvalidInputError, LimitError, OpenSoraError
from opensora_core.media import MediaLimits, Video, probe_video, read_video
from tests.media.clips import moving_square, numbered, numbers, waves


def foreign(path: Path, video: Video, times: list[int] | None = None, codec: str = "libx264") -> Path:
    """A file that another program could have written: no comment of ours; frames at `times` in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(video.fps))
        stream.height, stream.width, stream.pix_fmt = video.height, video.width, "yuv420p"
        stream.options = {"crf": "10"}
        base = Fraction(1, 1000) if times else 1 / Fraction(video.fps)
        stream.codec_context.time_base = base
        for index, pixels in enumerate(video.frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = times[index] if times else index
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov", ".webm"])
def test_common_containers_are_read(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    video = numbered(8, fps=10, H=32, W=32)
    loaded = read_video(foreign(tmp_path / f"clip{suffix}", video, codec=codec))
    assert (loaded.shape, numbers(loaded)) == (video.shape, list(range(8)))
    assert loaded.fps == pytest.approx(10, rel=0.02)
    assert loaded.metadata == {}


@pytest.mark.parametrize("suffix", [".mp4", ".webp", ".gif"])
def test_a_part_is_read_at_any_rate(tmp_path: Path, suffix: str) -> None:
    path = numbered(12, fps=24, H=32, W=32).save(tmp_path / f"clip{suffix}")
    assert numbers(read_video(path, start=3, num_frames=4)) == [3, 4, 5, 6]
    assert numbers(read_video(path, start=9, num_frames=9)) == [9, 10, 11]
    assert numbers(read_video(path, fps=12)) == [0, 2, 4, 6, 8, 10]
    assert numbers(read_video(path, fps=12, start=1, num_frames=2)) == [2, 4]
    assert numbers(read_video(path, fps=48, num_frames=5)) == [0, 1, 1, 2, 2]
    assert read_video(path, fps=12).fps == 12
    assert len(read_video(path, fps=48)) == 24


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fps=st.sampled_from([5.0, 7.0, 12.0, 23.976, 30.0, 60.0]))
def test_resampling_while_reading_is_resampling_afterwards(tmp_path: Path, fps: float) -> None:
    video = numbered(20, fps=24)
    path = video.save(tmp_path / "clip.webp")
    assert numbers(read_video(path, fps=fps)) == numbers(video.resample(fps))


def test_a_variable_rate_is_made_even(tmp_path: Path) -> None:
    video = numbered(4, fps=10, H=32, W=32)
    path = foreign(tmp_path / "clip.mkv", video, times=[0, 100, 500, 600])
    assert numbers(read_video(path)) == [0, 1, 2, 3]
    assert numbers(read_video(path, fps=10))[:6] in ([0, 1, 1, 1, 1, 2], [0, 1, 1, 1, 2, 2])


def test_a_frame_of_an_animation_stays_for_its_time(tmp_path: Path) -> None:
    first, *rest = (Image.fromarray(pixels) for pixels in numbered(3, 1).frames)
    first.save(tmp_path / "clip.gif", save_all=True, append_images=rest, duration=[100, 300, 100])
    loaded = read_video(tmp_path / "clip.gif")
    assert (numbers(loaded), loaded.fps) == ([0, 1, 1, 1, 2], 10)


def test_an_animation_without_durations_plays_as_in_browsers(tmp_path: Path) -> None:
    first, *rest = (Image.fromarray(pixels) for pixels in numbered(3, 1).frames)
    first.save(tmp_path / "clip.gif", save_all=True, append_images=rest, duration=0)
    assert read_video(tmp_path / "clip.gif").fps == 10


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_a_still_is_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    pixels = waves(T=1).frames[0]
    Image.fromarray(pixels).save(tmp_path / f"still{suffix}", quality=100, lossless=True)
    loaded = read_video(tmp_path / f"still{suffix}")
    assert (loaded.shape, loaded.fps) == ((1, 64, 64, 3), 24)
    assert loaded.psnr(Video(pixels[None], 24)) > 30
    assert read_video(tmp_path / f"still{suffix}", fps=8).fps == 8


def test_a_folder_of_frames_from_elsewhere_takes_the_rate_asked_for(tmp_path: Path) -> None:
    for index, pixels in enumerate(numbered(3, 1).frames):
        Image.fromarray(pixels).save(tmp_path / f"frame_{index:04d}.png")
    loaded = read_video(tmp_path, fps=12)
    assert (numbers(loaded), loaded.fps) == ([0, 1, 2], 12)
    assert read_video(tmp_path).fps == 24


@pytest.mark.parametrize(("turn", "quarters"), [(90, 3), (180, 2), (270, 1)])
def test_rotation_of_the_camera_is_applied(tmp_path: Path, turn: int, quarters: int) -> None:
    """The track header holds a matrix; phones turn by it instead of turning pixels. `turn` is clockwise."""
    video = moving_square(T=2, H=32, W=48)
    path = foreign(tmp_path / "clip.mp4", video)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # version 0: 40 bytes of times, id, layer, volume
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn]
    one, w = 1 << 16, 1 << 30
    struct.pack_into(">9i", content, matrix, cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, w)
    path.write_bytes(content)
    expected = Video(np.rot90(video.frames, quarters, axes=(1, 2)), 8)
    loaded = read_video(path)
    assert loaded.shape == expected.shape
    assert loaded.psnr(expected) > 20


def test_transparent_frames_are_laid_over_white(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (8, 8), (200, 0, 0, alpha)) for alpha in (255, 0)]
    frames[0].save(tmp_path / "clip.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    loaded = read_video(tmp_path / "clip.webp")
    assert loaded.frames[:, 0, 0].tolist() == [[200, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp", ".mkv", ".avi"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_file_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"clip{suffix}"
    (foreign(path, waves()) if suffix in (".mkv", ".avi") else waves().save(path))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(FileFormatError, match=rf"clip\{suffix}"):
        read_video(path)


def test_damage_inside_is_refused(tmp_path: Path) -> None:
    path = waves(T=16).save(tmp_path / "clip.mp4")
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 1200  # behind the encoder's own notes
    for position in range(start, len(content), 97):
        content[position] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="frame"):
        read_video(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from([".mp4", ".gif", ".webp", ".png"]))
def test_damage_anywhere_gives_a_video_or_our_error(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    video = numbered(1 if suffix == ".png" else 3, 8, H=16, W=16)
    content = bytearray(video.save(tmp_path / f"clip{suffix}").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    limits = MediaLimits(frame_pixels=1 << 16, frames=100, total_bytes=1 << 24)
    try:
        read_video(path, limits=limits)
    except OpenSoraError as error:
        assert str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.mp4", b"Dear Sir or Madam, this is no video.\n" * 20),
        ("page.mp4", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
        ("noise.gif", bytes(range(256)) * 4),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/etc/passwd\n#EXT-X-ENDLIST\n"),
        ("list.mp4", b"ffconcat version 1.0\nfile clip.mp4\n"),
        ("vector.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ],
)
def test_what_is_no_video_is_said(tmp_path: Path, name: str, content: bytes) -> None:
    numbered(3, 8, H=16, W=16).save(tmp_path / "clip.mp4")  # what the list names exists
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=r"re-encode|convert"):
        read_video(tmp_path / name)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(FileFormatError, match="no video stream, only audio"):
        read_video(tmp_path / "sound.mp4")
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(64))
    with pytest.raises(FileFormatError, match=r"sound\.wav"):
        read_video(tmp_path / "sound.wav")


def test_paths_that_lead_nowhere_are_said(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(FileFormatError, match="empty"):
        read_video(tmp_path / "empty.mp4")
    with pytest.raises(InvalidInputError, match="No such file"):
        read_video(tmp_path / "absent.mp4")
    with pytest.raises(InvalidInputError, match="NoneType"):
        read_video(None)  # type: ignore[arg-type]
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileFormatError, match=r"frame_0000\.png"):
        read_video(tmp_path / "folder")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, "start"),
        ({"start": 6}, "beyond the end"),
        ({"num_frames": 0}, "num_frames"),
        ({"fps": 0}, "fps"),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".webp"])
def test_parts_that_do_not_exist_are_said(tmp_path: Path, suffix: str, options: dict, message: str) -> None:
    path = numbered(6, 8, H=16, W=16).save(tmp_path / f"clip{suffix}")
    with pytest.raises(InvalidInputError, match=message):
        read_video(path, **options)


LIMITS = [
    (MediaLimits(file_bytes=100), "file_bytes="),
    (MediaLimits(frame_pixels=1000), "frame_pixels=1024"),
    (MediaLimits(frames=5), "frames="),
    (MediaLimits(total_bytes=6 * 32 * 32 * 3 - 1), "total_bytes=18432"),
]


@pytest.mark.parametrize(("limits", "message"), LIMITS)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif", "clip.webp", "clip/"])
def test_limits_hold(tmp_path: Path, name: str, limits: MediaLimits, message: str) -> None:
    path = numbered(6, 8, H=32, W=32).save(f"{tmp_path}/{name}")
    with pytest.raises(LimitError, match=message):
        read_video(path, limits=limits)
    assert len(read_video(path, limits=MediaLimits(frames=6, seconds=0.75, total_bytes=6 * 32 * 32 * 3))) == 6


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_seconds_are_limited_and_a_part_may_still_be_read(tmp_path: Path, suffix: str) -> None:
    path = numbered(6, 2, H=32, W=32).save(tmp_path / f"clip{suffix}")
    limits = MediaLimits(seconds=2)
    with pytest.raises(LimitError, match="num_frames="):
        read_video(path, limits=limits)
    assert numbers(read_video(path, limits=limits, start=1, num_frames=2)) == [1, 2]


def test_headers_are_refused_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = numbered(6, 8, H=32, W=32).save(tmp_path / "clip.mp4")

    def decoded(*arguments: object) -> None:
        raise AssertionError("a frame was converted")

    monkeypatch.setattr("opensora_core.media.decode_stream.to_rgb", decoded)
    for limits, message in LIMITS[1:]:
        with pytest.raises(LimitError, match=message):
            read_video(path, limits=limits)


def test_a_stream_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    """The header of a raw stream speaks for its first frames only."""
    small = foreign(tmp_path / "small.h264", numbered(3, 8, H=32, W=32)).read_bytes()
    large = foreign(tmp_path / "large.h264", numbered(3, 8, H=64, W=64)).read_bytes()
    path = tmp_path / "both.h264"
    path.write_bytes(small + large)
    with pytest.raises(FileFormatError, match="64x64, the first is 32x32"):
        read_video(path)
    with pytest.raises(OpenSoraError, match=r"both\.h264"):  # by the decoder itself, before it allocates
        read_video(path, limits=MediaLimits(frame_pixels=40 * 40))


def test_a_stranger_cannot_ask_for_endless_frames_in_a_comment(tmp_path: Path) -> None:
    comment = numbered(3, 8).save(tmp_path / "clip.gif").read_bytes()
    (tmp_path / "clip.gif").write_bytes(comment.replace(b'"num_frames": 3', b'"num_frames": 9'))
    assert len(read_video(tmp_path / "clip.gif")) == 3  # what is there, not what is claimed
    still = Image.new("RGB", (8, 8))
    claim = '{"format": "opensora-video", "fps": 1, "num_frames": 2000000000, "height": 8, "width": 8, "scale": 1, '
    still.save(tmp_path / "still.gif", comment=claim + '"metadata": {}}')
    with pytest.raises(LimitError, match="frames="):
        read_video(tmp_path / "still.gif")


def test_limits_are_above_zero() -> None:
    with pytest.raises(InvalidInputError, match="frames=0"):
        MediaLimits(frames=0)


@pytest.mark.parametrize("suffix", [".mp4", ".webp", ".gif"])
def test_frames_are_fitted_as_they_are_decoded_and_a_probe_counts_them(tmp_path: Path, suffix: str) -> None:
    frames = np.repeat(np.arange(0, 240, 20, dtype=np.uint8), 18 * 30 * 3).reshape(12, 18, 30, 3)
    path = Video(frames, 8).save(tmp_path / f"clip{suffix}")
    info = probe_video(path)
    assert (info.num_frames, info.height, info.width, info.fps) == (12, 18, 30, 8)
    fitted = read_video(path, start=3, num_frames=4, size=(16, 16))
    assert np.array_equal(fitted.frames, read_video(path, start=3, num_frames=4).fit(16, 16).frames)
    enlarged = Video(frames, 8).save(tmp_path / f"large{suffix}", scale=2)
    assert probe_video(enlarged) == info
    assert read_video(enlarged, size=(36, 60)).shape == (12, 36, 60, 3)  # as large as the file, and not what it holds


def test_large_frames_that_are_fitted_need_no_memory_of_their_own(tmp_path: Path) -> None:
    path = Video(np.zeros((8, 64, 64, 3), np.uint8), 8).save(tmp_path / "clip.mp4")
    limits = MediaLimits(total_bytes=8 * 16 * 16 * 3)
    assert read_video(path, size=(16, 16), limits=limits).num_frames == 8
    with pytest.raises(LimitError):
        read_video(path, limits=limits)
