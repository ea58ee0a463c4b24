"""Runs through stages and buckets, stopped and gone on with as if nothing had been."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections import Counter

import numpy as np
import pytest

from opensora_core.dit.blocks import STDiT3Block
from opensora_core.errors import InvalidInputError, NonFiniteError
from opensora_core.training.checkpoints import CheckpointWarning
from opensora_core.training.data import make_batch
from opensora_core.training.trainer import Trainer
from tests.pipelines.models import NANO
from tests.training.processes import CHECKOUT
from tests.training.tiny import CLIP, recipe, trainer


def arrays(of: Trainer) -> dict[str, np.ndarray]:
    """Everything in the state of a trainer."""
    state, host = of.state, of.ops.to_numpy
    named = {f"{kind}/{n}": a for kind in ("params", "ema") for n, a in getattr(state, kind).items()}
    return {n: host(a) for n, a in {**named, "mean": state.moments.mean, "square": state.moments.square}.items()}


def same(a: Trainer, b: Trainer) -> bool:
    first, second = arrays(a), arrays(b)
    bits = all(first[n].tobytes() == second[n].tobytes() for n in first)
    return bits and first.keys() == second.keys() and a.state.step == b.state.step


def take(run, n):
    """The first n steps of a run, which is then left."""
    steps = [step for _, step in zip(range(n), run, strict=False)]
    run.close()
    return steps


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_recipe_is_run_stage_by_stage_through_its_buckets(backend):
    made = trainer(backend)
    before = arrays(made)
    steps = list(made.run())
    assert [step.step for step in steps] == list(range(1, 9))
    assert {step.total for step in steps} == {8}
    assert [step.stage for step in steps] == ["images"] * 3 + ["clips"] * 5
    assert set(Counter(step.samples for step in steps[3:])) == {2, 3}
    assert all(np.isfinite(step.loss) and step.seconds > 0 for step in steps)
    after = arrays(made)
    still = {n.split("/", 1)[1] for n in after if n.startswith("params/") and np.array_equal(after[n], before[n])}
    assert still == {"rope.freqs"}
    assert list(made.run()) == []


def test_three_steps_on_numpy_are_those_of_torch():
    losses = [[step.loss for step in take(trainer(backend).run(), 3)] for backend in ("numpy", "torch")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[0]) == 3


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("stop", [2, 5])
def test_a_run_that_was_stopped_ends_as_one_that_was_not_to_the_bit(tmp_path, backend, stop):
    whole = trainer(backend, tmp_path / "whole")
    losses = [step.loss for step in whole.run()]
    first = trainer(backend, tmp_path / "parts")
    assert [step.loss for step in take(first.run(), stop)] == losses[:stop]
    second = trainer(backend, tmp_path / "parts")
    assert second.resume() == stop
    assert same(first, second)
    assert [step.loss for step in second.run()] == losses[stop:]
    assert same(second, whole)
    for name in ("whole", "parts"):
        assert [line["step"] for line in log(tmp_path / name)] == list(range(1, 9))
        assert [line["loss"] for line in log(tmp_path / name)] == losses


def test_bfloat16_arithmetic_keeps_float32_weights():
    made = trainer("torch", precision="bfloat16")
    exact = trainer("torch")
    losses = [[step.loss for step in take(t.run(), 2)] for t in (made, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]
    assert {a.dtype for a in arrays(made).values()} == {np.dtype("float32")}


def test_a_compiled_run_is_the_same_on_a_backend_that_does_not_compile():
    plain, compiled = trainer(), trainer()
    compiled._learner._loss = compiled.ops.compile(compiled._learner._loss)
    assert [s.loss for s in take(plain.run(), 2)] == [s.loss for s in take(compiled.run(), 2)]


def test_the_average_lags_behind_the_weights():
    made = trainer()
    start = {n: np.array(a) for n, a in arrays(made).items()}
    batch = make_batch(made.recipe, 0, made._tokenizer, made._encode)
    made.step(batch)
    after, name = arrays(made), "x_embedder.proj.weight"
    decay = 1 / 10  # (1 + step) / (10 + step) while that is below ema_decay
    expected = decay * start[f"ema/{name}"] + (1 - decay) * after[f"params/{name}"]
    np.testing.assert_allclose(after[f"ema/{name}"], expected, rtol=1e-5, atol=1e-7)
    averaged, raw = made.denoiser().x_embedder.proj.weight, made.denoiser(ema=False).x_embedder.proj.weight
    assert np.array_equal(averaged, after[f"ema/{name}"])
    assert np.array_equal(raw, after[f"params/{name}"])


def test_frozen_weights_stay_and_unknown_ones_are_refused():
    frozen = ["rope.freqs", "y_embedder.y_embedding", "x_embedder.proj.weight"]
    made = trainer(frozen=frozen)
    before = arrays(made)
    take(made.run(), 2)
    after = arrays(made)
    still = {n for n in after if np.array_equal(after[n], before[n])}
    assert still >= {f"{kind}/{n}" for n in frozen for kind in ("params", "ema")}
    assert still.isdisjoint({"params/x_embedder.proj.bias", "ema/x_embedder.proj.bias"})
    with pytest.raises(InvalidInputError, match=r"frozen=\['rope'\] match nothing of the denoiser, whose parts are"):
        trainer(frozen=["rope", "x_embedder.*"])


def test_patterns_choose_what_learns():
    made = trainer(train=["temporal_blocks.*", "final_layer.*"], frozen=["*.bias", "*.attn.*"])
    before = arrays(made)
    take(made.run(), 2)
    changed = {n.removeprefix("params/") for n, a in arrays(made).items() if not np.array_equal(a, before[n])}
    assert changed > {"mean", "square", "temporal_blocks.0.mlp.fc1.weight", "final_layer.linear.weight"}
    weights = {n for n in changed if "." in n and not n.startswith("ema/")}
    assert all(n.startswith(("temporal_blocks.", "final_layer.")) for n in weights)
    assert not any(n.endswith(".bias") or ".attn." in n for n in weights)
    with pytest.raises(InvalidInputError, match="leaves no weight"):
        trainer(train=["rope.*"])


def test_a_run_may_be_given_a_time(tmp_path):
    made = trainer("numpy", tmp_path)
    assert [step.step for step in made.run(seconds=0)] == [1]
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["log.jsonl", "step-00000001"]
    assert len(list(made.run(seconds=1000, checkpoint_every=0))) == 7
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["log.jsonl", "step-00000007", "step-00000008"]


def test_a_trainer_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = trainer()
    take(made.run(), 1)
    assert made.save() is None
    assert made.resume() == 1
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- what goes wrong


def poison(made: Trainer, step: int, value: float) -> None:
    """Let the autoencoder break at one step."""
    encode, count = made._encode, iter(range(1000))

    def broken(frames):
        latents = encode(frames)
        return latents * np.float32(value) if next(count) == step else latents

    made._encode = broken


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_a_loss_that_is_no_number_stops_the_run_and_spoils_nothing(tmp_path, value):
    made, good = trainer("numpy", tmp_path), trainer()
    poison(made, 2, value)
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(NonFiniteError, match=r"at step 3, stage 'images'"),
    ):
        list(made.run())
    take(good.run(), 2)
    assert same(made, good)
    again = trainer("numpy", tmp_path)
    assert again.resume() == 2
    assert same(again, good)
    assert len(list(again.run())) == 6


def test_a_gradient_that_is_no_number_beside_a_good_loss_is_found():
    made = trainer()
    value_and_grad = made.ops.value_and_grad

    def spoiled(fun, params):
        loss, grads = value_and_grad(fun, params)
        return loss, {**grads, "x_embedder.proj.bias": grads["x_embedder.proj.bias"] * np.nan}

    made.ops.value_and_grad = spoiled
    with pytest.raises(NonFiniteError, match="a gradient of it is not finite at step 1"):
        list(made.run())
    assert made.state.step == 0
    assert all(np.isfinite(a).all() for a in arrays(made).values())


@pytest.mark.parametrize("logged", [False, True])
def test_an_interruption_between_step_and_log_leaves_both_alike(tmp_path, logged):
    made, whole = trainer("numpy", tmp_path), trainer()
    keep = made._kept.log

    def interrupted(progress, files):
        if logged or progress.step < 3:
            keep(progress, files)
        if progress.step == 3:
            raise KeyboardInterrupt

    made._kept.log = interrupted
    with pytest.raises(KeyboardInterrupt):
        list(made.run())
    assert [line["step"] for line in log(tmp_path)] == [1, 2]
    again = trainer("numpy", tmp_path)
    assert again.resume() == 2
    list(again.run())
    list(whole.run())
    assert same(again, whole)


def test_a_damaged_checkpoint_and_a_torn_log_are_gone_back_behind(tmp_path):
    made = trainer("numpy", tmp_path)
    take(made.run(), 2)
    take(made.run(), 3)
    torn = tmp_path / "step-00000005" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:100])
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    again = trainer("numpy", tmp_path)
    with pytest.warns(CheckpointWarning, match="step-00000005 is damaged"):
        assert again.resume() == 2
    assert [line["step"] for line in log(tmp_path)] == [1, 2]
    whole = trainer()
    list(whole.run())
    list(again.run())
    assert same(again, whole)
    assert [line["step"] for line in log(tmp_path)] == list(range(1, 9))


def test_the_log_is_lines_of_json_with_what_a_step_says(tmp_path):
    made = trainer("numpy", tmp_path)
    steps = take(made.run(), 4)
    for step, line in zip(steps, log(tmp_path), strict=True):
        assert line.pop("time") > 1.7e9
        assert line == {name: value for name, value in vars(step).items() if value is not None}


def test_an_error_of_the_data_comes_out_and_what_was_learned_is_saved(tmp_path):
    made, encode = trainer("numpy", tmp_path), trainer()._encode
    left = iter(range(3))

    def failing(frames):
        if next(left, None) is None:
            raise OSError("the disk is gone")
        return encode(frames)

    made._encode = failing
    with pytest.raises(OSError, match="the disk is gone"):
        list(made.run())
    assert trainer("numpy", tmp_path).resume() == 3


@pytest.mark.slow
def test_killed_without_warning_a_run_goes_on_from_its_last_checkpoint(tmp_path):
    script = """
        import os, sys
        from pathlib import Path
        from tests.training.tiny import trainer
        for step in trainer("numpy", Path(sys.argv[1])).run(checkpoint_every=0):
            if step.step == 5:
                os.kill(os.getpid(), 9)
        """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    paths = {"PYTHONPATH": CHECKOUT, "OMP_NUM_THREADS": "1", "PATH": ""}
    assert subprocess.run(command, env=paths, check=False, timeout=120).returncode == -9
    again, whole = trainer("numpy", tmp_path), trainer()
    assert again.resume() == 5
    list(again.run())
    list(whole.run())
    assert same(again, whole)
    assert [line["step"] for line in log(tmp_path)] == list(range(1, 9))


def test_the_recipe_is_the_one_that_was_asked_for():
    assert recipe().denoiser == NANO.denoiser
    assert recipe().stages[1].buckets[0].fps == tuple(CLIP["fps"])


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_gradient_checkpointing_trains_the_same_and_runs_blocks_twice(backend, monkeypatch):
    runs = Counter()
    block = STDiT3Block.__call__

    def counted(self, *args):
        runs[key] += 1
        return block(self, *args)

    monkeypatch.setattr(STDiT3Block, "__call__", counted)
    losses = {}
    for key in (False, True):
        losses[key] = [step.loss for step in trainer(backend, gradient_checkpointing=key).run()]
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)
    assert runs[True] == 2 * runs[False] > 0
