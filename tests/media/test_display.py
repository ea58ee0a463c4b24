"""A contact sheet shows every frame where one looks for it; a notebook shows the moving picture."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError, LimitError
from opensora_core.media import Video, read_video
from tests.media.clips import moving_square, numbered


def test_a_sheet_holds_every_frame_enlarged_pixel_by_pixel() -> None:
    video = moving_square(T=5, H=12, W=16)
    sheet = np.asarray(video.contact_sheet(columns=3, scale=4, labels=False))
    assert sheet.shape == (2 * (48 + 4) + 4, 3 * (64 + 4) + 4, 3)
    for index, frame in enumerate(video.frames):
        top, left = 4 + index // 3 * 52, 4 + index % 3 * 68
        tile = sheet[top : top + 48, left : left + 64]
        np.testing.assert_array_equal(tile, frame.repeat(4, axis=0).repeat(4, axis=1))


def test_labels_are_drawn_above_the_frames() -> None:
    video = numbered(4, 8)
    plain, labelled = (np.asarray(video.contact_sheet(columns=2, scale=4, labels=on)) for on in (False, True))
    assert labelled.shape[0] == plain.shape[0] + 2 * 14
    assert labelled[4 + 14 + 4, 20, 0] == plain[8, 20, 0] == 0
    assert (labelled[4:18, 4:16] < 128).any()  # the "0"


@pytest.mark.parametrize(
    ("shape", "every", "size"),
    [
        ((16, 64, 64), 1, (4 * 196 + 4, 4 * 210 + 4)),  # tiny: enlarged three times
        ((9, 640, 640), 2, (3 * 324 + 4, 2 * 338 + 4)),  # large: shrunk by half
        ((1, 1, 1), 1, (168, 182)),
    ],
)
def test_a_sheet_chooses_a_pleasant_size(shape: tuple[int, int, int], every: int, size: tuple[int, int]) -> None:
    video = Video(np.zeros((*shape, 3), np.uint8), 8)
    assert video.contact_sheet(every=every).size == size


@pytest.mark.parametrize("options", [{"columns": 0}, {"scale": 0}, {"scale": -1}, {"every": 0}])
def test_an_impossible_sheet_is_refused(options: dict) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        numbered(3, 8).contact_sheet(**options)


def test_an_enormous_sheet_is_refused() -> None:
    video = Video(np.zeros((25, 64, 64, 3), np.uint8), 8)
    with pytest.raises(LimitError, match="every=1"):
        video.contact_sheet(scale=64)


def shown(video: Video, tmp_path) -> Video:
    data = re.search(r'src="data:image/webp;base64,([^"]+)"', video._repr_html_())
    assert data
    path = tmp_path / "shown.webp"
    path.write_bytes(base64.b64decode(data[1]))
    return read_video(path)


def test_a_notebook_shows_the_moving_picture(tmp_path) -> None:
    video = moving_square()
    seen = shown(video, tmp_path)
    assert (seen.frames == video.frames).all()
    assert seen.fps == video.fps
    assert "pixelated" in video._repr_html_()


def test_a_notebook_shows_large_and_fast_videos_smaller_and_slower(tmp_path) -> None:
    seen = shown(Video(np.zeros((4, 20, 1280, 3), np.uint8), 120), tmp_path)
    assert (seen.shape, seen.fps) == ((2, 10, 640, 3), 60)


def test_a_prompt_is_shown_as_text_only() -> None:
    video = Video(np.zeros((1, 4, 4, 3), np.uint8), 8, {"prompt": '"><script>alert(1)</script>'})
    assert "<script" not in video._repr_html_()
    assert "&lt;script&gt;" in video._repr_html_()
