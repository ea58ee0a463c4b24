"""A folder appears whole or not at all, and nothing of anybody else is ever deleted for it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from opensora_core.errors import FileFormatError, InvalidInputError, LimitError
from opensora_core.serialization import atomic
from opensora_core.serialization.atomic import atomic_file, atomic_folder
from opensora_core.serialization.manifest import verify_manifest


def fill(path: Path, text: str = "new", *, overwrite: bool = True) -> None:
    with atomic_folder(path, overwrite=overwrite) as temporary:
        assert not (path / "sub" / "b").exists() or (path / "sub" / "b").read_text() != text
        (temporary / "a").write_text(text)
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_text(text)


def test_a_folder_appears_with_its_manifest(tmp_path: Path) -> None:
    fill(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]
    files = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert list(files) == ["a", "sub/b"]
    assert files["a"]["bytes"] == 3
    verify_manifest(tmp_path / "out")


def test_our_own_and_empty_folders_are_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    fill(out, "old")
    (out / ".DS_Store").write_text("")  # a file browser was here
    (out / "a").unlink()  # damaged, but still ours
    fill(out, "new")
    assert (out / "a").read_text() == "new"
    assert not (out / ".DS_Store").exists()
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_to_our_folder_is_followed_and_stays(tmp_path: Path) -> None:
    fill(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    fill(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "new"


@pytest.mark.parametrize("manifest", [None, "{", '{"format":"other","version":1,"files":{"mine":{}}}'])
def test_a_folder_of_somebody_else_is_kept(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "mine").write_text("precious")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(InvalidInputError, match="not replaced"):
        fill(tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("where", ["notes.txt", "sub/notes.txt", "sub/link"])
def test_a_file_added_to_our_folder_is_kept(tmp_path: Path, where: str) -> None:
    out = tmp_path / "out"
    fill(out, "old")
    (out / where).symlink_to(tmp_path) if where.endswith("link") else (out / where).write_text("precious")
    with pytest.raises(InvalidInputError, match=f"{where}' in it is not in its manifest"):
        fill(out)
    assert (out / where).exists()
    assert (out / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InvalidInputError, match="not replaced"), atomic_folder(out):
        (out / "mine").write_text("precious")
    assert (out / "mine").read_text() == "precious"
    assert os.listdir(tmp_path) == ["out"]


def test_an_existing_folder_is_kept_when_asked(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old", overwrite=False)
    with pytest.raises(InvalidInputError, match="exists already"):
        fill(tmp_path / "out", overwrite=False)
    assert (tmp_path / "out" / "a").read_text() == "old"


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_leaves_the_old_folder_and_nothing_else(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "out") as temporary:
            (temporary / "a").write_text("half")
            raise interruption

    fill(tmp_path / "out", "old")
    with pytest.raises(interruption):
        write()
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "input/output error"), KeyboardInterrupt()])
def test_a_failure_between_the_renames_restores_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, error: BaseException
) -> None:
    calls = []
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == failing:
            raise error
        rename(source, target)

    fill(tmp_path / "out", "old")
    monkeypatch.setattr(atomic.os, "rename", fail)
    with pytest.raises(type(error)):
        fill(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a").read_text() == "old"
    verify_manifest(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, words in [
        ("file", "a file of that name"),
        ("absent/out", "create it first"),
        ("file/out", "not a folder"),
    ]:
        with pytest.raises(InvalidInputError, match=words), atomic_folder(tmp_path / path):
            pytest.fail("the block must not run")
    with pytest.raises(LimitError, match="no space left"), atomic_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(LimitError, match=r"while writing \S*/out: free"),
        atomic_folder(tmp_path / "out") as hidden,
        atomic_file(hidden / "weights"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(InvalidInputError, match="links and devices"), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "link").symlink_to(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"version": 2}, "version 2 is unknown"),
        ({"format": None}, "format is None"),
        ({"files": []}, "not an object"),
        ({"files": {"../a": {"bytes": 1, "sha256": ""}}}, "leads out of the folder"),
        ({"files": {"/etc/passwd": {"bytes": 1, "sha256": ""}}}, "leads out of the folder"),
        ({"files": {"a": {"bytes": 3}}}, "exactly 'bytes' and 'sha256'"),
        ({"files": {"a": {"bytes": True, "sha256": ""}}}, "no integer"),
        ({"files": {"a": {"bytes": 4, "sha256": ""}}}, "has 3 bytes, manifest.json says 4"),
        ({"files": {"a": {"bytes": 3, "sha256": "0" * 64}}}, "was changed"),
        ({"files": {"sub": {"bytes": 3, "sha256": ""}}}, "is not there"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, damage: dict[str, object], words: str) -> None:
    fill(tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(FileFormatError, match=words):
        verify_manifest(tmp_path / "out")
