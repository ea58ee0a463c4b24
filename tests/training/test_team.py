"""Several processes train as one does: the same losses and weights, checkpoints that know nothing of how many."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.pipelines.training import make_trainer
from opensora_core.registry import get_backend
from opensora_core.serialization.folder import load_folder
from opensora_core.testing.conformance import require
from opensora_core.training.checkpoints import CheckpointWarning
from opensora_core.training.recipe import load_recipe
from opensora_core.training.team import Team, join
from tests.pipelines.models import distance, make
from tests.training.processes import environment, finish, start
from tests.training.tiny import recipe as tiny_recipe

require("torch")
RECIPE = """
[denoiser]
DENOISER
[validation]
every = 3
batches = 3
timesteps = [200, 800]
[[stages]]
name = "tiny"
steps = STEPS
warmup_steps = 2
mask_ratios = { image_head = 0.5 }
buckets = [{ num_frames = 5, height = 16, width = 16, batch_size = 4 }]
"""
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A base model, and recipes of it of so many steps."""
    folder = tmp_path_factory.mktemp("team")
    base = make("torch")
    base.save(folder / "base")
    settings = base.config.denoiser.to_dict().items()
    denoiser = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings if value is not None)

    def recipe(steps):
        path = folder / f"{steps}.toml"
        path.write_text(RECIPE.replace("DENOISER", denoiser).replace("STEPS", str(steps)))
        return path

    return folder, base, recipe


def arguments(folder, output, recipe, *more):
    where = ("-o", folder / output, "--init", folder / "base", "--backend", "torch", "--device", "cpu")
    return ["-m", "opensora_core.cli", "train", "-c", recipe, *where, *more]


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def validation(folder):
    """What the log says of held-out batches: a list of figures for each time."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [list(line["validation"].values()) for line in lines if "validation" in line]


def alone(base, recipe, folder):
    """The losses of one process, and what it ends with."""
    trainer = make_trainer(base, load_recipe(recipe), folder)
    trainer.resume()
    return [step.loss for step in trainer.run()], trainer


def test_two_processes_train_as_one_and_either_goes_on_where_the_other_stopped(run):
    folder, base, recipe = run
    command = [*TORCHRUN, *map(str, arguments(folder, "two", recipe(3), "--json"))]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 3, "one document, by the first process"
    expected, one = alone(base, recipe(5), folder / "one")
    assert losses(folder / "two") == pytest.approx(expected[:3], rel=1e-5)
    assert np.allclose(validation(folder / "two"), validation(folder / "one")[:1], rtol=1e-5, atol=0)
    # one process goes on after two
    with pytest.warns(CheckpointWarning, match="steps was 3, is 5"):
        went_on, ended = alone(base, recipe(5), folder / "two")
    assert went_on == pytest.approx(expected[3:], rel=1e-5)
    assert distance(ended.state.moments.mean, one.state.moments.mean) < 1e-5
    # and two after one
    made = make_trainer(base, load_recipe(recipe(5)), folder / "three")
    steps = made.run()
    next(steps), next(steps), steps.close()
    finish(start(arguments(folder, "three", recipe(5), "--resume")))
    assert losses(folder / "three") == pytest.approx(expected, rel=1e-5)
    assert np.shape(validation(folder / "three")) == (2, 3)
    assert np.allclose(validation(folder / "three"), validation(folder / "one"), rtol=1e-5, atol=0)
    stored, whole = (load_folder(folder / name / "step-00000005")[1] for name in ("three", "one"))
    assert {name: a.shape for name, a in stored.items()} == {name: a.shape for name, a in whole.items()}
    # of gradients that are zero but for rounding, AdamW makes steps: weights differ more than what they are made of
    assert distance(stored["mean"], whole["mean"]) < 1e-5
    assert max(distance(stored[name], whole[name]) for name in whole if name.endswith(".weight")) < 1e-4


def test_an_interruption_of_one_stops_all_saved_at_one_step(run):
    folder, _, recipe = run
    log = folder / "stopped" / "log.jsonl"
    processes = start(arguments(folder, "stopped", recipe(100000)))
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") > 2):
        assert time.monotonic() < deadline, finish(processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGINT)
    told = finish(processes, code=130)
    steps = log.read_text().count("\n")
    assert f"step {steps} is saved" in told[0][1]
    assert (folder / "stopped" / f"step-{steps:08d}" / "manifest.json").exists()


def test_a_batch_is_shared_in_rows_and_must_be_even():
    team = Team()
    team.rank, team.size = 1, 2
    batch = {"latents": np.arange(12).reshape(4, 3), "t": np.arange(4)}
    assert {name: a.tolist() for name, a in team.rows(batch, "here").items()} == {
        "latents": [[6, 7, 8], [9, 10, 11]],
        "t": [2, 3],
    }
    with pytest.raises(InvalidInputError, match=r"stage 'images' has batch_size=3, which 2 processes .* multiple of 2"):
        team.check(tiny_recipe())
    with pytest.raises(InvalidInputError, match="here has batch_size=3"):
        team.rows({"latents": np.zeros(3)}, "here")


def test_only_backends_that_can_are_joined(monkeypatch):
    ops = get_backend("numpy", device="cpu", dtype="float32")
    assert join(ops).size == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidInputError, match=r"2 processes were started, and backend 'numpy' .* --backend torch"):
        join(ops)
