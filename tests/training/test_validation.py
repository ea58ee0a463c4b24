"""Validation: the loss of averaged weights on clips that no run learns from, the same whenever it is asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.pipelines.training import make_trainer
from opensora_core.synthetic.world import FULL
from opensora_core.training.data import Batch, make_batch
from opensora_core.training.objective import training_loss
from opensora_core.training.recipe import recipe_from_dict
from opensora_core.training.team import Team
from opensora_core.training.validation import HeldOut, held_out
from tests.pipelines.models import make
from tests.training.datasets.clips import write_folder
from tests.training.tiny import CLIP, IMAGE, recipe, trainer

VALIDATION = {"every": 3, "batches": 2, "timesteps": [200.0, 800.0]}


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_run_is_validated_every_so_many_steps_and_at_its_end(backend, tmp_path):
    made, plain = trainer(backend, tmp_path, validation=VALIDATION), trainer(backend)
    steps, untold = list(made.run()), list(plain.run())
    assert [step.step for step in steps if step.validation] == [3, 6, 8]
    assert [step.loss for step in steps] == [step.loss for step in untold], "to be watched changes nothing"
    for step in steps:
        if step.validation:
            assert set(step.validation) == {"mean", "200", "800"}
            assert step.validation["mean"] == pytest.approx((step.validation["200"] + step.validation["800"]) / 2)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("validation") for line in lines] == [step.validation for step in steps]
    assert made.validate() == steps[-1].validation


def test_a_run_that_goes_on_is_validated_on_the_same(tmp_path):
    whole = [step.validation for step in trainer(validation=VALIDATION).run()]
    first = trainer("numpy", tmp_path, validation=VALIDATION)
    first.fit(lambda step: step.step < 4)
    assert first.state.step == 4
    second = trainer("numpy", tmp_path, validation=VALIDATION)
    second.resume()
    assert [step.validation for step in second.run()] == whole[4:]


def test_the_loss_is_that_of_the_averaged_weights_at_the_timestep():
    made = trainer(validation={**VALIDATION, "batches": 1, "timesteps": [300.0]})
    made.fit(lambda step: step.step < 3)
    of = held_out(made.recipe)
    batch = make_batch(of, 0, made._tokenizer, made._encode, None, "heldout")
    arrays = {**made._learner._on_device(batch), "t": np.full(batch.bucket.batch_size, 300.0, np.float32)}
    size = {"height": float(batch.bucket.height), "width": float(batch.bucket.width)}
    expected = training_loss(made.ops, made.denoiser(), arrays, **size)
    assert made.validate()["300"] == pytest.approx(float(expected), rel=1e-6)
    raw = training_loss(made.ops, made.denoiser(ema=False), arrays, **size)
    assert abs(float(raw) - float(expected)) > 1e-6
    assert not batch.arrays["drop"].any()


def test_it_is_on_scenes_that_training_never_sees(monkeypatch):
    made, seen = trainer(validation=VALIDATION), []
    sample = type(FULL).sample
    monkeypatch.setattr(type(FULL), "sample", lambda world, rng, split: seen.append(split) or sample(world, rng, split))
    made.validate()
    assert set(seen) == {"heldout"}
    made.batch(0)
    assert seen[-1] == "train"


def test_a_team_shares_out_what_one_process_does():
    asked = recipe(validation={**VALIDATION, "batches": 3, "timesteps": [100.0, 500.0, 900.0]})

    def of(rank, size):
        team, told, made = Team(), [], []
        team.rank, team.size = rank, size
        team.sum = lambda values: told.append(values) or values

        def make(_, i):
            made.append(i)
            return Batch(asked.stages[0].buckets[0], {"t": np.zeros(1), "number": np.full(1, i)})

        figures = HeldOut(asked, make, team).losses(lambda b: float(b.arrays["number"][0] + b.arrays["t"][0]))
        return figures, told[0], made

    figures, alone, _ = of(0, 1)
    assert figures == {"mean": 501, "100": 101, "500": 501, "900": 901}
    parts = [of(rank, 2) for rank in range(2)]
    assert np.sum([told for _, told, _ in parts], axis=0).tolist() == alone
    assert [np.count_nonzero(told) for _, told, _ in parts] == [4, 5]
    assert [made for *_, made in parts] == [[0, 1], [1, 2]], "nobody makes a batch that only others need"


def test_a_recipe_on_files_is_validated_on_files_of_their_own(tmp_path):
    write_folder(tmp_path / "train", 2, 0)
    write_folder(tmp_path / "other", 3, 0)
    stage = {"name": "mine", "steps": 1, "data": str(tmp_path / "train"), "buckets": [CLIP]}
    values = {"denoiser": recipe().denoiser.to_dict(), "stages": [stage]}
    with pytest.raises(InvalidInputError, match="validation of a recipe that learns from files needs files: data"):
        recipe_from_dict({**values, "validation": VALIDATION})
    asked = recipe_from_dict({**values, "validation": {**VALIDATION, "data": str(tmp_path / "other")}})
    made = make_trainer(make(), asked)
    made.validate()
    names = [name for batch in made._held_out._batches.values() for name in batch.files]
    assert names
    assert all("/other/" in name for name in names)
    assert np.isfinite(made.validate()["mean"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"every": 0}, "validation: every=0 must be a whole number of at least 1"),
        ({"timesteps": []}, r"validation: timesteps=\(\) must be a list of one or more"),
        ({"timesteps": [1001]}, "validation: timesteps=1001 must be a number from 0 to 1000"),
        ({"world": "moon"}, "validation: world='moon' is not one of easy, full"),
        ({"world": "easy", "data": "x"}, "on files .* or on a world, not on both"),
        ({"buckets": [{**IMAGE, "width": 0}]}, "bucket 1 of validation: width=0"),
        ({"evry": 3}, r"unknown validation fields \['evry'\]"),
    ],
)
def test_a_mistake_is_named(changed, words):
    with pytest.raises(InvalidInputError, match=words):
        recipe(validation={**VALIDATION, **changed})


def test_without_validation_there_is_nothing_to_ask_for():
    with pytest.raises(InvalidInputError, match=r"the recipe has no \[validation\]"):
        trainer().validate()
