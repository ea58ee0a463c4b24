"""Saves that are killed, and disks that are full: the last good checkpoint stays, and nothing else does."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from opensora_core.errors import InvalidInputError, LimitError
from opensora_core.pipelines.training import make_trainer
from opensora_core.serialization import atomic, folder
from opensora_core.serialization.folder import save_folder
from opensora_core.serialization.leftovers import put_back, remove_leftovers
from opensora_core.training.checkpoints import CheckpointWarning, save_checkpoint
from tests.pipelines.models import make
from tests.training.kills import OPS, loaded, state
from tests.training.processes import CHECKOUT, ROOT
from tests.training.tiny import recipe, trainer


def names(where: Path) -> list[str]:
    return sorted(path.name for path in where.iterdir())


def test_thirty_kills_while_saving_lose_nothing():
    command = [sys.executable, "-m", "tests.training.kills", "--kills", "30"]
    paths = {"PYTHONPATH": CHECKOUT, "OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(command, env=paths, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert "30 kills" in done.stdout, done.stderr
    assert "nothing lost" in done.stdout


class Killed(BaseException):
    """Ends a save at once, with nothing tidied up."""


def killed_at(monkeypatch, rename: int):
    """Let the save die, as by SIGKILL, before the rename of this number."""
    real, count = os.rename, iter(range(10))

    def dying(*args):
        if next(count) == rename:
            raise Killed
        real(*args)

    monkeypatch.setattr(atomic.os, "rename", dying)
    monkeypatch.setattr(atomic.shutil, "rmtree", lambda *args, **options: None)


def test_killed_between_its_two_renames_a_save_leaves_the_old_folder_to_be_put_back(tmp_path, monkeypatch):
    save_checkpoint(OPS, tmp_path, state(7))
    with monkeypatch.context() as patch:
        killed_at(patch, 1)
        patch.setattr(Path, "exists", lambda path: True)  # so that the save does not put it back itself
        with pytest.raises(Killed):
            save_checkpoint(OPS, tmp_path, state(7))
    assert len(names(tmp_path)) == 2
    assert "step-00000007" not in names(tmp_path)
    assert loaded(tmp_path) == 7
    assert remove_leftovers(tmp_path) == 1
    assert names(tmp_path) == ["step-00000007"]
    assert put_back(tmp_path) == []


def test_the_next_run_removes_what_killed_saves_left_and_nothing_else(tmp_path):
    made = trainer("numpy", tmp_path)
    half = tmp_path / ".opensora-0123456789abcdef.tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".opensora-0123456789abcdef.tmp.jsonl").write_text("half")
    (tmp_path / ".opensora-mine.tmp").write_text("mine")
    next(run := made.run())
    run.close()
    assert names(tmp_path) == [".opensora-mine.tmp", "log.jsonl", "step-00000001"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_leaves_the_last_checkpoint_and_says_which(tmp_path, monkeypatch, code):
    def full(path, tensors):
        path.write_bytes(b"half of the weights")
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_safetensors", full)
        with pytest.raises(LimitError, match=r"no space left .*step-00000001: free some.*; there is no other"):
            save_checkpoint(OPS, tmp_path, state(1))
    save_checkpoint(OPS, tmp_path, state(1))
    made = trainer("numpy", tmp_path)
    made.step(made.batch(0))
    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_safetensors", full)
        with pytest.raises(LimitError, match=r"step-00000002: .*untouched, the last is step-00000001"):
            list(made.run(checkpoint_every=0.0))
    assert names(tmp_path) == ["log.jsonl", "step-00000001"]
    assert loaded(tmp_path) == 1


def test_a_disk_too_full_for_a_line_of_the_log_is_named_as_such(tmp_path, monkeypatch):
    made, opened = trainer("numpy", tmp_path), Path.open

    def full(path, *args, **options):
        if path.name == "log.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(LimitError, match=r"no space left on the disk while writing .*log\.jsonl"):
        list(made.run())


def test_so_many_checkpoints_are_kept_as_were_asked_for(tmp_path):
    for step in range(1, 6):
        save_checkpoint(OPS, tmp_path, state(step), keep=3)
    assert names(tmp_path) == [f"step-0000000{n}" for n in (3, 4, 5)]
    save_checkpoint(OPS, tmp_path, state(6), keep=1)
    assert names(tmp_path) == ["step-00000006"]
    with pytest.raises(InvalidInputError, match="keep=0 must be a whole number of at least 1"):
        make_trainer(make("numpy"), recipe(), keep=0)


def test_a_checkpoint_of_another_version_is_not_passed_over(tmp_path):
    save_checkpoint(OPS, tmp_path, state(1))
    header = {"format": "opensora-training-state", "version": 2, "step": 2}
    save_folder(tmp_path / "step-00000002", header, {"x": OPS.asarray([0.0])})
    with pytest.raises(InvalidInputError, match=r"step-00000002 is of version 2, this library knows 1: upgrade it"):
        loaded(tmp_path)


def test_a_folder_of_another_kind_is_passed_over_by_name(tmp_path):
    save_checkpoint(OPS, tmp_path, state(1))
    save_folder(tmp_path / "step-00000002", {"format": "opensora-core"}, {"x": OPS.asarray([0.0])})
    with pytest.warns(CheckpointWarning, match=r"step-00000002 is no checkpoint of a training run .*'opensora-core'"):
        assert loaded(tmp_path) == 1


def test_checkpoints_from_before_they_told_their_version_are_known(tmp_path):
    save_checkpoint(OPS, tmp_path, state(3))
    config, tensors = folder.load_folder(tmp_path / "step-00000003")
    save_folder(tmp_path / "step-00000003", {k: v for k, v in config.items() if k != "version"}, tensors)
    assert loaded(tmp_path) == 3
