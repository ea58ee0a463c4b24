"""The folder of drawn clips is one that training can read, the same whenever it is drawn."""

from __future__ import annotations

import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.media.video import Video
from opensora_core.synthetic import SWING, read
from opensora_core.training.datasets.samples import read_samples
from opensora_core.training.datasets.skipped import Skipped
from opensora_core.training.draw_clips import draw_clips, main


def test_clips_show_what_their_captions_say(tmp_path, capsys):
    main([str(tmp_path / "swing"), "--world", "swing", "-n", "3"])
    assert "3 clips of the swing world" in capsys.readouterr().out
    skipped = Skipped()
    samples = read_samples(str(tmp_path / "swing"), skipped)
    assert not skipped.reasons
    assert [(s.path.name, s.num_frames, s.height, s.width, s.fps) for s in samples] == [
        (f"00{i}.mp4", 17, 64, 64, 8.0) for i in range(3)
    ]
    for sample in samples:
        assert "swing" in sample.text
        assert read(Video.load(sample.path).frames).motion == "swing"


def test_a_clip_depends_on_seed_and_number_alone(tmp_path):
    for name, n, seed in (("two", 2, 0), ("one", 1, 0), ("other", 1, 1)):
        draw_clips(tmp_path / name, SWING, n, seed=seed)
    two, one, other = (
        [(tmp_path / name / f"000.{kind}").read_bytes() for kind in ("mp4", "txt")] for name in ("two", "one", "other")
    )
    assert two == one != other
    with pytest.raises(InvalidInputError, match="n=0"):
        draw_clips(tmp_path, SWING, 0)
