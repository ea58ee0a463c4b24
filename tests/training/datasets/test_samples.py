"""Files and captions out of folders and manifests, and what is said of those that cannot be used."""

from __future__ import annotations

import sys

import pytest

from opensora_core.errors import InvalidInputError, MissingDependencyError
from opensora_core.testing.conformance.pytest_api import require
from opensora_core.training.datasets.samples import Sample, read_samples
from opensora_core.training.datasets.skipped import Skipped
from tests.training.datasets.clips import write_clip, write_folder


def read(data):
    skipped = Skipped()
    return read_samples(data, skipped), {name.rpartition("/")[2]: reason for name, reason in skipped.reasons.items()}


def test_a_folder_gives_videos_and_pictures_with_the_captions_beside_them(tmp_path):
    data = write_folder(tmp_path / "data", videos=2, pictures=1)
    caption = write_clip(data / "more" / "last.gif", 7)
    (data / "notes.md").write_text("nothing to learn from")
    samples, skipped = read(data)
    assert [s.name for s in samples] == ["clip0.mp4", "clip1.mp4", "more/last.gif", "stills/still0.png"]
    assert samples[2] == Sample("more/last.gif", data / "more" / "last.gif", caption, 9, 24, 32, 8.0)
    assert [(s.num_frames, s.height, s.width) for s in samples[1::2]] == [(13, 32, 24), (1, 24, 32)]
    assert skipped == {}


def test_files_that_are_broken_or_have_no_caption_are_skipped_and_named(tmp_path):
    data = write_folder(tmp_path / "data", videos=6, pictures=0)
    whole = (data / "clip1.mp4").read_bytes()
    (data / "clip1.mp4").write_bytes(whole[: len(whole) // 2])
    (data / "clip2.txt").unlink()
    (data / "clip3.txt").write_bytes(b"caf\xe9")
    (data / "clip4.txt").write_text(" \n")
    (data / "clip5.mp4").write_bytes(b"")
    samples, skipped = read(data)
    assert [s.name for s in samples] == ["clip0.mp4"]
    words = {"clip1": "cut off", "clip2": "no caption: write one into clip2.txt", "clip3": "cannot be read",
             "clip4": "no caption", "clip5": "is empty"}  # fmt: skip
    assert skipped.keys() == {f"{name}.mp4" for name in words}
    assert all(word in skipped[f"{name}.mp4"] for name, word in words.items())


CSV = """\
path,text,num_frames,height,width,aspect_ratio,fps
clip0.mp4,"a ball, red",9,24,32,0.75,8
clip1.mp4,measured,,,nan,,
still.png,a picture,1,10,20,0.5,
clip0.mp4,,9,24,32,0.75,8
gone.mp4,it is not there,,,,,
later.mp4,nobody looks at a file that is described,99.0,5,6,,29.97
"""


def expected(data):
    return [
        Sample("clip0.mp4", data / "clip0.mp4", "a ball, red", 9, 24, 32, 8.0),
        Sample("clip1.mp4", data / "clip1.mp4", "measured", 13, 32, 24, 8.0),
        Sample("still.png", data / "still.png", "a picture", 1, 10, 20, 0.0),
        Sample("later.mp4", data / "later.mp4", "nobody looks at a file that is described", 99, 5, 6, 29.97),
    ]


def test_a_manifest_describes_files_and_what_it_does_not_say_is_measured(tmp_path):
    data = write_folder(tmp_path / "data", videos=2, pictures=0)
    manifest = data / "train.csv"
    manifest.write_text("\ufeff" + CSV, encoding="utf-8")
    for given in (manifest, data):
        samples, skipped = read(given)
        assert samples == expected(data)
        assert "no caption in row 4 of train.csv" in skipped["clip0.mp4"]
        assert skipped.keys() == {"clip0.mp4", "gone.mp4"}


def test_parquet_says_what_csv_says(tmp_path):
    require("pyarrow")
    from pyarrow import csv, parquet

    data = write_folder(tmp_path / "data", videos=2, pictures=0)
    (tmp_path / "train.csv").write_text(CSV)
    parquet.write_table(csv.read_csv(tmp_path / "train.csv"), data / "train.parquet")
    assert read(data / "train.parquet")[0] == expected(data)
    (data / "train.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InvalidInputError, match=r"train\.parquet cannot be read"):
        read(data)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "train.parquet").touch()
    with pytest.raises(MissingDependencyError, match=r"pip install 'opensora-core\[parquet\]', or save .* as \.csv"):
        read(tmp_path / "train.parquet")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "file,text\nb,c\n", r"a\.csv lacks the columns path; it has file, text"),
        ("a.csv", "", "lacks the columns path, text; it has none"),
        ("a.csv", "path,text,fps\nb,c,-1\n", r"row 1 of .*a\.csv: fps='-1' must be a number of at least 0, or empty"),
        ("a.csv", "path,text,height\nb,c,1\nb,c,tall\n", "row 2 of .*height='tall'"),
        ("a.csv", "path,text\n", "holds no usable video or picture. Expected files such as"),
        ("a.csv", "path,text\nb.mp4,c\n", "holds no usable .* 1 file was skipped: cannot read"),
        ("a.json", "{}", r"must be a folder or a manifest, \.csv or \.parquet"),
    ],
)  # fmt: skip
def test_manifests_that_are_of_no_use_are_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInputError, match=words):
        read(tmp_path / name)


def test_data_that_is_not_there_or_not_one_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="data='nowhere' does not exist; paths count from /"):
        read("nowhere")
    with pytest.raises(InvalidInputError, match="holds no usable video or picture"):
        read(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(CSV)
    with pytest.raises(InvalidInputError, match="holds 2 manifests; name one: data = "):
        read(tmp_path)
