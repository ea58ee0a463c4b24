"""A recorded loss curve: honest differences of arithmetic lie close to it, another recipe does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from opensora_core.errors import FileFormatError, InvalidInputError
from opensora_core.pipelines.training import make_trainer
from opensora_core.training import log
from opensora_core.training.curve import Window, compare, curve, load_curve, main, save_curve
from tests.pipelines.models import make
from tests.training.tiny import IMAGE, recipe

WEIGHTED = {"time_weighting": 1.0, "timestep_shift": 3.0}


def train(folder, backend="numpy", rate=2e-3, **changed):
    bucket = {**IMAGE, "batch_size": 4}
    stage = {"name": "images", "steps": 80, "warmup_steps": 10, "learning_rate": rate, "buckets": [bucket]}
    make_trainer(make(backend), recipe(stages=[stage], **{**WEIGHTED, **changed}), folder).fit()
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run's folder, and the file of its curve."""
    folder = tmp_path_factory.mktemp("curve")
    assert main([str(train(folder / "run")), "--record", str(folder / "curve.json"), "--steps", "20"]) == 0
    return folder / "run", folder / "curve.json"


def test_a_curve_is_the_mean_and_spread_of_each_window(recorded):
    run, file = recorded
    losses = np.reshape([line["loss"] for line in log.read(run)], (4, 20))
    windows = load_curve(file)
    assert windows == curve(run, 20)
    assert [(w.stage, w.first, w.last) for w in windows] == [("images", 20 * i + 1, 20 * i + 20) for i in range(4)]
    np.testing.assert_allclose([(w.mean, w.spread) for w in windows], np.stack([losses.mean(1), losses.std(1)], 1))


@pytest.mark.parametrize(
    "changed",
    [{"backend": "torch"}, {"backend": "torch", "precision": "bfloat16"}],
    ids=["backend", "rounding"],
)
def test_other_arithmetic_lies_close(recorded, tmp_path, changed, capsys):
    _, file = recorded
    run = train(tmp_path, **changed)
    assert max(abs(d.spreads) for d in compare(run, load_curve(file))) < 0.1
    assert main([str(run), "--against", str(file)]) == 0
    assert "4 of 4 windows lie within 0.5 spreads" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changed",
    [{"rate": 2e-4}, {"rate": 2e-2}, {"time_weighting": 0.0}],
    ids=["slow", "fast", "unweighted"],
)
def test_another_recipe_departs(recorded, tmp_path, changed, capsys):
    _, file = recorded
    run = train(tmp_path, **changed)
    assert max(abs(d.spreads) for d in compare(run, load_curve(file))) > 1
    assert main([str(run), "--against", str(file)]) == 1
    assert "spreads, departs" in capsys.readouterr().out


def lines(folder, *steps, stage="images"):
    folder.mkdir(exist_ok=True)
    for step in steps:
        log.append(folder, {"step": step, "stage": stage, "loss": float(step % 2)})
    return folder


def test_a_run_is_compared_as_far_as_it_has_come_and_windows_keep_to_stages(tmp_path):
    run = lines(lines(tmp_path / "run", *range(1, 6)), 6, 7, 8, 9, stage="clips")
    windows = curve(run, 4)
    assert [(w.stage, w.first, w.last, w.mean, w.spread) for w in windows] == [
        ("images", 1, 4, 0.5, 0.5),
        ("clips", 6, 9, 0.5, 0.5),
    ]
    with (run / log.LOG).open("a") as file:
        file.write('{"step": 10, "sta')  # a line that is being written
    assert len(compare(lines(tmp_path / "young", *range(1, 8)), windows[:1])) == 1
    with pytest.raises(InvalidInputError, match=r"another recipe: step 6 is of stage 'images', recorded 'clips'"):
        compare(lines(tmp_path / "other", *range(1, 10)), windows)
    with pytest.raises(InvalidInputError, match=r"not finished any window of the curve yet: 3 steps are done"):
        compare(lines(tmp_path / "new", 1, 2, 3), windows)
    with pytest.raises(InvalidInputError, match="no stage of the log has 100 steps"):
        curve(run)


def test_what_is_no_curve_or_no_run_is_named(tmp_path, capsys):
    path = tmp_path / "curve.json"
    save_curve([Window("images", 1, 4, 0.5, 0.1)], path)
    assert main([str(tmp_path / "nowhere"), "--against", str(path)]) == 2
    assert "nowhere holds no training run: log.jsonl cannot be read (No such file" in capsys.readouterr().err
    with pytest.raises(InvalidInputError, match=r"none\.json cannot be read: No such file"):
        load_curve(tmp_path / "none.json")
    for text, words in (
        ("{", "is not JSON"),
        ("[]", "is no loss curve"),
        (path.read_text().replace("0.1", "0"), "damaged loss curve: spread=0 must be a number above 0"),
        (json.dumps({**json.loads(path.read_text()), "version": 2}), "expected format .* version 1"),
    ):
        path.write_text(text)
        with pytest.raises(FileFormatError, match=words):
            load_curve(path)
