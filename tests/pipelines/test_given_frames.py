"""What is given is kept: images, clips, windows; and any length and size comes out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.errors import CancelledError, InvalidInputError
from opensora_core.media.video import Video
from opensora_core.pipelines.frames import keep_still
from opensora_core.pipelines.streaming import Progress
from opensora_core.pipelines.windows import plan_windows
from tests.pipelines.models import PROMPT, clip, latents, make

QUICK = {"num_inference_steps": 1, "seed": 0}


# ---------------------------------------------------------------------- an image


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("seed", [0, 1])
def test_an_image_stays_as_the_autoencoder_gives_it_back(backend, seed):
    model, image = make(backend), clip(1)[0]
    *steps, video = model.stream(PROMPT, image=image, seed=seed, num_inference_steps=3)
    known = model.encode(image[None])
    for step in steps:
        assert np.array_equal(model.ops.to_numpy(step.latents)[:, :, :1], known)
        assert np.array_equal(model.ops.to_numpy(step.denoised)[:, :, :1], known)
        assert np.array_equal(step.preview()[0], model.decode(known)[0, 0])
    assert video.num_frames == 5
    assert np.array_equal(video.frames[0], model.decode(known)[0, 0])
    assert (video.frames[1:] != video.frames[0]).any(axis=(1, 2, 3)).all()


def test_an_image_is_brought_to_the_size_of_the_video():
    model = make()
    video = model.generate_from_image(clip(1, 64, 40)[0], PROMPT, **QUICK)
    assert video.shape == (5, 16, 16, 3)
    video = model.generate_from_image(clip(1, 10, 10)[0], PROMPT, height=24, width=8, **QUICK)
    assert video.shape == (5, 24, 8, 3)


def test_an_image_alone_is_the_reconstruction_whatever_comes_after_it():
    model, image = make(), clip(1)[0]
    one = model.generate_from_image(image, PROMPT, num_frames=1, **QUICK)
    assert one.num_frames == 1
    assert np.array_equal(one.frames, model.decode(model.encode(image[None]))[0])
    long = model.generate_from_image(image, PROMPT, num_frames=11, **QUICK)
    assert long.num_frames == 11
    assert np.array_equal(long.frames[0], one.frames[0])


# ---------------------------------------------------------------------- a clip


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_given_frames_of_an_extension_stay_bit_for_bit(backend):
    model, source = make(backend, num_frames=9), Video(clip(7, 12, 20), fps=5)
    video = model.extend_video(source, PROMPT, num_frames=4, **QUICK)
    assert np.array_equal(video.frames[:7], source.frames)
    assert (video.shape, video.fps) == ((11, 12, 20, 3), 5)
    last = latents(model, PROMPT, video=source, num_frames=11, **QUICK)
    assert np.array_equal(last[:, :, :2], model.encode(source.frames[-5:]))


def test_what_stands_still_after_given_frames_keeps_their_colours():
    shown = clip(2, 1, 13)
    drawn = shown // 2 + 60  # what the autoencoder and the model make of it
    new = np.repeat(drawn[1:], 3, axis=0)
    new[:, 0, 0] += np.array([10, 9, 0], np.uint8)  # up to the lower level: still
    new[:, 0, 6] += np.array([0, 20, 0], np.uint8)  # half way
    new[:, 0, 12, 2] += 30  # from the upper level on: as drawn
    kept = keep_still(np.concatenate([drawn, new]), shown, (10, 30))
    assert np.array_equal(kept[:, 0, [0, 3, 9]], np.repeat(shown[1:, 0, [0, 3, 9]], 3, axis=0))
    assert np.array_equal(kept[:, 0, 6], np.rint((new[:, 0, 6].astype(float) + shown[1, 0, 6]) / 2))
    assert np.array_equal(kept[:, 0, 12], new[:, 0, 12])
    for untouched in (keep_still(np.concatenate([drawn, new]), shown, None), keep_still(new, shown[:0], (10, 30))):
        assert np.array_equal(untouched, new)


def test_no_outline_stays_where_something_has_left():
    shown = np.full((1, 9, 9, 3), 100, np.uint8)
    shown[0, 3:6, 3:6] = 200
    drawn = np.full((2, 9, 9, 3), 103, np.uint8)
    drawn[0, 4, 4] = 200  # softly: its outline is drawn as the background is
    left = keep_still(drawn, shown, (10, 30))[0]
    assert (left[3:6, 3:6] == 103).all()
    assert (left == 100).all(axis=-1).sum() == 81 - 9


@pytest.mark.parametrize(("beginning", "shown"), [("image", 1), ("video", 6)])
def test_a_model_that_keeps_all_that_is_still_repeats_the_last_given_frame(beginning, shown):
    model = make(num_frames=9, still_levels=(255, 255))
    first = clip(shown)[0] if beginning == "image" else Video(clip(shown), fps=8)
    *_, video = model.stream(PROMPT, num_frames=20, **{beginning: first}, **QUICK)
    assert video.num_frames == 20
    assert np.array_equal(video.frames[shown:], np.broadcast_to(video.frames[shown - 1], (20 - shown, 16, 16, 3)))


@pytest.mark.parametrize("condition_frames", [None, 1, 2, 4, 5, 7, 9, 16])
@pytest.mark.parametrize("existing", [1, 3, 6, 20])
def test_an_extension_adds_as_many_frames_as_were_asked_for(condition_frames, existing):
    model, frames = make(num_frames=17, height=8, width=8), clip(existing, 8, 8)
    for new in (1, 12, 30):
        video = model.extend_video(frames, PROMPT, new, condition_frames, guidance_scale=1, **QUICK)
        assert video.num_frames == existing + new
        assert np.array_equal(video.frames[:existing], frames)


@pytest.mark.parametrize(("existing", "beginning"), [(0, {}), (6, {"video": Video(clip(6), fps=8)})])
def test_every_window_is_given_the_frames_before_it(existing, beginning):
    model = make(num_frames=9)
    total = 9 + 4 + 4 if existing == 0 else existing + 4 + 4
    *steps, video = model.stream(PROMPT, num_frames=total, condition_frames=7, **beginning, **QUICK)
    assert len(steps) == (3 if existing == 0 else 2)
    for step, end in zip(steps[-2:], (total - 8, total - 4), strict=True):
        known = model.encode(video.frames[end - 5 : end])  # 7 frames hold 5 in whole groups
        assert np.array_equal(model.ops.to_numpy(step.latents)[:, :, :2], known)


@given(
    existing=st.integers(0, 40),
    new=st.integers(0, 60),
    window=st.integers(2, 20),
    condition=st.integers(1, 19) | st.none(),
    group=st.integers(1, 5),
)
def test_windows_follow_each_other_without_gap(existing, new, window, condition, group):
    if condition is not None and condition >= window:
        with pytest.raises(InvalidInputError, match=f"condition_frames={condition} must be from 1 to {window - 1}"):
            plan_windows(existing, new, window, condition, group)
        return
    windows = plan_windows(existing, new, window, condition, group)
    assert [w.index for w in windows] == list(range(len(windows)))
    assert sum(w.new_frames for w in windows) == new
    there = existing
    for w in windows:
        assert w.new_frames >= 1
        assert w.num_frames <= window
        assert 0 <= w.given <= min(there, 5 if condition is None else condition)
        assert (w.given == 0) == (there == 0)
        assert w.given == 0 or (w.given - 1) % group == 0
        there += w.new_frames


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "5", True])
def test_condition_frames_are_a_whole_number(wrong):
    with pytest.raises(InvalidInputError, match=r"condition_frames=.* must be a whole number of at least 1"):
        make().extend_video(clip(3), PROMPT, 2, wrong)


def test_a_model_of_single_images_makes_nothing_else():
    model = make(num_frames=1)
    assert model.generate_from_text(PROMPT, **QUICK).num_frames == 1
    assert model.generate_from_text(PROMPT, condition_frames=1, **QUICK).num_frames == 1
    for refused in (
        lambda: model.generate_from_text(PROMPT, num_frames=2),
        lambda: model.extend_video(clip(1), PROMPT, 1),
    ):
        with pytest.raises(InvalidInputError, match="makes single images"):
            refused()


def test_a_clip_is_a_video_a_path_or_frames(tmp_path):
    model, frames = make(), clip(3)
    path = Video(frames, fps=6).save(tmp_path / "clip.webp", lossless=True)
    from_frames = model.extend_video(frames, PROMPT, 2, **QUICK)
    assert from_frames.fps == 8
    assert model.extend_video(frames, PROMPT, 2, fps=12, **QUICK).fps == 12
    from_path = model.extend_video(path, PROMPT, 2, **QUICK)
    assert from_path.fps == 6
    assert np.array_equal(from_path.frames[:3], frames)
    assert model.extend_video(Video(frames, fps=6), PROMPT, 2, **QUICK) == from_path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"height": 24}, r"16x16 pixels, but width=16 and height=24 were asked for; .*fit"),
        ({"fps": 4}, r"fps=6, but fps=4 was asked for; .*resample"),
        ({"image": clip(1)[0]}, "not with both"),
        ({"num_frames": 4}, r"num_frames=4 must exceed the 4 frames"),
        ({"num_frames": None}, None),
    ],
)
def test_a_stream_does_not_change_the_clip_it_begins_with(options, words):
    model, video = make(), Video(clip(4), fps=6)
    if words is None:
        *_, result = model.stream(PROMPT, video=video, **QUICK, **options)
        assert result.shape == (5, 16, 16, 3)
        return
    with pytest.raises(InvalidInputError, match=words):
        list(model.stream(PROMPT, video=video, **{"num_frames": 8, **options}))


@pytest.mark.parametrize("wrong", [0, -3, 1.5, "2", None, False])
def test_an_extension_needs_new_frames(wrong):
    with pytest.raises(InvalidInputError, match=r"num_frames=.* must be a whole number of at least 1"):
        make().extend_video(clip(3), PROMPT, wrong)


def test_what_is_no_clip_and_no_image_is_refused(tmp_path):
    model = make()
    with pytest.raises(InvalidInputError, match="frames are float64"):
        model.extend_video(np.zeros((3, 16, 16, 3)), PROMPT, 1)
    with pytest.raises(InvalidInputError, match="cannot read"):
        model.extend_video(tmp_path / "nothing.mp4", PROMPT, 1)
    with pytest.raises(InvalidInputError, match="cannot read"):
        model.generate_from_image(tmp_path / "nothing.png", PROMPT)
    with pytest.raises(InvalidInputError, match="image has the shape"):
        model.generate_from_image(clip(2), PROMPT)


# ---------------------------------------------------------------------- any length and size


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("num_frames", "height", "width"), [(5, 33, 47), (3, 40, 24), (1, 16, 16), (2, 1, 1), (6, 8, 9), (13, 16, 8)]
)
def test_any_length_and_size_comes_out(backend, num_frames, height, width):
    video = make(backend).generate_custom(PROMPT, num_frames, height, width, **QUICK)
    assert video.shape == (num_frames, height, width, 3)
    assert len(np.unique(video.frames)) > 2


def test_odd_sizes_are_padded_around_what_is_kept():
    model, frames = make(), clip(1, 13, 9)
    padded = np.pad(frames, ((0, 0), (1, 2), (3, 4), (0, 0)), mode="edge")
    assert np.array_equal(model.encode(frames), model.encode(padded))
    whole = model.decode(model.encode(frames))
    assert whole.shape == (1, 1, 16, 16, 3)
    assert np.array_equal(model.decode(model.encode(frames), 1, 13, 9), whole[:, :, 1:14, 3:12])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_frames": 0}, "num_frames=0 must be a whole number of at least 1"),
        ({"num_frames": 6}, "needs 3 latent frames, got 2"),
        ({"height": 8}, "height=8 must be a whole number from 9 to 16"),
        ({"width": 17}, "width=17 must be a whole number from 9 to 16"),
    ],
)
def test_latents_decode_to_what_they_hold(options, words):
    model = make()
    held = model.encode(clip(5))
    assert model.decode(held).shape == (1, 5, 16, 16, 3)
    assert model.decode(held, 2, 9, 12).shape == (1, 2, 9, 12, 3)
    with pytest.raises(InvalidInputError, match=words):
        model.decode(held, **options)


@pytest.mark.parametrize("frames", [clip(3).astype("float32"), clip(3)[..., :2], clip(3)[0, 0], clip(3)[:0]])
def test_only_frames_are_encoded(frames):
    with pytest.raises(InvalidInputError, match=r"must be uint8 \[T, H, W, 3\]"):
        make().encode(frames)


def test_videos_and_batches_are_encoded():
    model = make()
    both = model.encode(np.stack([clip(3), clip(3, seed=1)]))
    assert both.shape == (2, 4, 2, 2, 2)
    assert np.array_equal(both[:1], model.encode(Video(clip(3), fps=8)))


# ---------------------------------------------------------------------- step by step


@pytest.mark.parametrize("options", [{}, {"num_frames": 13}, {"image": clip(1)[0], "num_frames": 6}])
def test_a_stream_tells_every_step_once_and_ends_with_the_video(options):
    model = make()
    *steps, video = model.stream(PROMPT, num_inference_steps=3, seed=0, **options)
    assert all(isinstance(step, Progress) for step in steps)
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))
    assert {step.total for step in steps} == {len(steps)}
    assert [step.timestep for step in steps[:3]] == pytest.approx([1000, 2000 / 3, 1000 / 3])
    assert video.num_frames == options.get("num_frames", 5)
    previews = [step.preview() for step in steps]
    assert all(p.dtype == np.uint8 and p.shape[1:] == (16, 16, 3) for p in previews)
    assert not np.array_equal(previews[0], previews[1])
    if "num_frames" not in options:
        assert np.array_equal(previews[-1], video.frames)


def test_a_stream_closed_early_stops_and_can_be_begun_anew():
    model = make()
    stream = model.stream(PROMPT, seed=0)
    first = next(stream)
    stream.close()
    assert list(stream) == []
    assert first.preview().shape == (5, 16, 16, 3)
    assert [type(item) for item in model.stream(PROMPT, seed=0)] == [Progress, Progress, Video]


def test_a_callback_sees_every_step():
    seen = []

    def callback(model, step, timestep, state):
        seen.append((step, timestep, sorted(state), state["preview"]().shape))

    make().generate_from_text(PROMPT, seed=0, callback_on_step_end=callback)
    shape, names = (5, 16, 16, 3), ["denoised", "latents", "preview"]
    assert seen == [(1, 1000.0, names, shape), (2, 500.0, names, shape)]


def test_a_callback_stops_the_generation_by_returning_false():
    steps = []

    def callback(model, step, timestep, state):
        steps.append(step)
        return step < 2

    with pytest.raises(CancelledError, match="after step 2 of 4"):
        make().generate_from_text(PROMPT, num_inference_steps=4, callback_on_step_end=callback)
    assert steps == [1, 2]


def test_no_image_is_no_image_to_begin_with():
    with pytest.raises(InvalidInputError, match="image=None must be a path"):
        make().generate_from_image(None, PROMPT)
