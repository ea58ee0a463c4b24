"""A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from opensora_core.errors import InvalidInputError, LimitError
from opensora_core.serialization import atomic
from opensora_core.serialization.atomic import atomic_file


def test_content_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    with atomic_file(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "ours") as temporary:
        temporary.write_bytes(b"")
    (tmp_path / "usual").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "private"
    target.write_bytes(b"old")
    target.chmod(0o600)
    with atomic_file(target) as temporary:
        temporary.write_bytes(b"new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interruption_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    target = tmp_path / "clip.mp4"
    target.write_bytes(b"old")

    def write() -> None:
        with atomic_file(target) as temporary:
            temporary.write_bytes(b"ha")
            raise interruption

    with pytest.raises(interruption):
        write()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_at_the_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(atomic.os, step, fail)
    with pytest.raises(OSError, match="input/output"), atomic_file(tmp_path / "clip.mp4") as temporary:
        temporary.write_bytes(b"whole")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="no space left"), atomic_file(tmp_path / "clip.mp4"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_kept_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    target.write_bytes(b"old")
    with pytest.raises(InvalidInputError, match="exists already"), atomic_file(target, overwrite=False):
        pytest.fail("the block must not run")
    with atomic_file(tmp_path / "new.mp4", overwrite=False) as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "new.mp4").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["clip.mp4", "new.mp4"]


def test_a_file_that_appears_meanwhile_is_kept_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    with pytest.raises(InvalidInputError, match="appeared"), atomic_file(target, overwrite=False):
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real.bin").write_bytes(b"old")
    link = tmp_path / "link.mp4"
    link.symlink_to("real.bin")
    with atomic_file(link) as temporary:
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"new")
    assert link.is_symlink()
    assert (tmp_path / "real.bin").read_bytes() == b"new"


def test_places_that_cannot_be_written_are_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    refused: list[tuple[str | Path, str]] = [
        ("", "empty path"),
        ("a\0b", "null"),
        (tmp_path, "is a folder"),
        (fifo, "not a regular file"),
        (tmp_path / "absent" / "x", "create it first"),
        (tmp_path / "file" / "x", "not a folder"),
    ]
    for path, words in refused:
        with pytest.raises(InvalidInputError, match=words), atomic_file(path):
            pytest.fail("the block must not run")

    def deny(*args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic.os, "open", deny)  # the tests may run as root, whom no mode stops
    with pytest.raises(InvalidInputError, match="no permission"), atomic_file(tmp_path / "x"):
        pytest.fail("the block must not run")
    assert sorted(os.listdir(tmp_path)) == ["fifo", "file"]


def test_a_folder_that_takes_no_files_is_not_called_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_in_proc(*args: object) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(os, "open", as_in_proc)
    with pytest.raises(InvalidInputError, match="no permission to create files in"), atomic_file(tmp_path / "x.mp4"):
        pass
