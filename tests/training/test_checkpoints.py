"""Checkpoints: whole or not there, a few of them, and a damaged one is passed over aloud."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError, WeightsError
from opensora_core.registry import get_backend
from opensora_core.serialization import atomic
from opensora_core.serialization.folder import load_folder, save_folder
from opensora_core.training.checkpoints import CheckpointWarning, TrainState, latest_checkpoint, save_checkpoint
from opensora_core.training.optimizer import AdamState

OPS = get_backend("numpy")


def state(step, size=3):
    def vector(n):
        return np.full(size, 10 * step + n, np.float32)

    return TrainState(step, {"a": vector(1)}, {"a": vector(2)}, AdamState(vector(3), vector(4)))


def equal(a: TrainState, b: TrainState) -> bool:
    pairs = [(a.params["a"], b.params["a"]), (a.ema["a"], b.ema["a"]), *zip(a.moments, b.moments, strict=True)]
    return a.step == b.step and all(np.array_equal(x, y) for x, y in pairs)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def damage(folder: Path, step: int) -> None:
    path = folder / f"step-{step:08d}" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


@pytest.fixture
def folder(tmp_path):
    for step in (10, 20):
        save_checkpoint(OPS, tmp_path, state(step))
    return tmp_path


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_newest_checkpoint_comes_back_on_any_backend(folder, backend):
    ops = get_backend(backend)
    found = latest_checkpoint(ops, folder, state(0))
    on_host = TrainState(
        found.step,
        {"a": ops.to_numpy(found.params["a"])},
        {"a": ops.to_numpy(found.ema["a"])},
        AdamState(*map(ops.to_numpy, found.moments)),
    )
    assert equal(on_host, state(20))


def test_where_there_is_none_there_is_none(tmp_path):
    assert latest_checkpoint(OPS, tmp_path / "nothing", state(0)) is None
    (tmp_path / "step-00000009").write_text("a file of that name")
    (tmp_path / "step-9").mkdir()
    assert latest_checkpoint(OPS, tmp_path, state(0)) is None


def test_only_the_newest_few_are_kept_and_strangers_are_left_alone(folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "step-best").mkdir()
    for step in (30, 40):
        save_checkpoint(OPS, folder, state(step))
    assert names(folder) == ["notes.txt", "step-00000030", "step-00000040", "step-best"]


def test_what_was_loaded_outlives_its_file(folder):
    found = latest_checkpoint(OPS, folder, state(0))
    shutil.rmtree(folder / "step-00000020")
    assert equal(found, state(20))


def test_a_damaged_checkpoint_is_passed_over_aloud(folder):
    damage(folder, 20)
    with pytest.warns(CheckpointWarning, match=r"step-00000020 is damaged and was passed over .*sha256") as warned:
        assert equal(latest_checkpoint(OPS, folder, state(0)), state(10))
    assert len(warned) == 1
    damage(folder, 10)
    with pytest.warns(CheckpointWarning) as warned:
        assert latest_checkpoint(OPS, folder, state(0)) is None
    assert len(warned) == 2


def test_an_incomplete_or_strange_checkpoint_is_passed_over_aloud(folder):
    (folder / "step-00000020" / "manifest.json").unlink()
    save_folder(folder / "step-00000030", {"format": "opensora-core"}, {"x": np.zeros(1)})
    with pytest.warns(CheckpointWarning) as warned:
        assert equal(latest_checkpoint(OPS, folder, state(0)), state(10))
    assert [str(w.message)[:24] for w in warned] == ["the folder step-00000030", "the checkpoint step-0000"]


def test_a_checkpoint_of_a_newer_library_is_not_taken_for_a_damaged_one(folder):
    newest = folder / "step-00000020"
    manifest = (newest / "manifest.json").read_text()
    (newest / "manifest.json").write_text(manifest.replace('"version": 1', '"version": 2'))
    with pytest.raises(InvalidInputError, match=r"20.manifest.json: version 2 is unknown.*Or move the checkpoint away"):
        latest_checkpoint(OPS, folder, state(0))
    newest.rename(folder / "of-version-2")
    assert equal(latest_checkpoint(OPS, folder, state(0)), state(10))
    save_checkpoint(OPS, folder, state(20))
    assert equal(latest_checkpoint(OPS, folder, state(0)), state(20))


def test_a_whole_checkpoint_takes_the_place_of_a_damaged_one(folder):
    damage(folder, 20)
    save_checkpoint(OPS, folder, state(20))
    assert equal(latest_checkpoint(OPS, folder, state(0)), state(20))


def test_a_run_that_went_back_keeps_what_it_saves(folder):
    for step in (30, 40):
        save_checkpoint(OPS, folder, state(step))
        damage(folder, step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        save_checkpoint(OPS, folder, state(22))
        assert names(folder) == ["step-00000022", "step-00000030", "step-00000040"]
        assert equal(latest_checkpoint(OPS, folder, state(0)), state(22))


@pytest.mark.parametrize("moment", ["_sync_tree", "_swap_folder"])
def test_killed_before_the_rename_the_last_good_one_is_left(folder, monkeypatch, moment):
    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, moment, killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(OPS, folder, state(30))
    monkeypatch.undo()
    assert equal(latest_checkpoint(OPS, folder, state(0)), state(20))
    assert names(folder) == ["step-00000010", "step-00000020"]


def test_what_a_power_cut_leaves_is_not_taken_for_a_checkpoint(folder):
    half = folder / ".opensora-0123456789abcdef.tmp"
    shutil.copytree(folder / "step-00000020", half)
    (half / "manifest.json").unlink()
    assert equal(latest_checkpoint(OPS, folder, state(0)), state(20))
    save_checkpoint(OPS, folder, state(30))
    assert equal(latest_checkpoint(OPS, folder, state(0)), state(30))


def test_a_checkpoint_of_another_model_is_an_error(folder):
    with pytest.raises(WeightsError, match=r"'params/a' is \[3\], expected \[4\]"):
        latest_checkpoint(OPS, folder, state(0, size=4))
    assert load_folder(folder / "step-00000020")[0] == {
        "format": "opensora-training-state",
        "version": 1,
        "step": 20,
    }
