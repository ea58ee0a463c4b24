"""A loss that is no number names the first tensor that was none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opensora_core.errors import NonFiniteError
from opensora_core.training.blame import first_bad
from opensora_core.training.data import Batch
from tests.training.tiny import trainer


def failure(made, batch: Batch) -> str:
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as error:
        made.step(batch)
    return str(error.value)


def changed(batch: Batch, name: str, sample: int, value: float, files: tuple[str, ...] = ()) -> Batch:
    array = np.array(batch.arrays[name])
    array[sample].flat[0] = value
    return replace(batch, arrays={**batch.arrays, name: array}, files=files)


def test_a_bad_sample_is_named_with_its_file():
    made = trainer()
    batch = changed(made.batch(0), "latents", 1, np.nan, ("a.mp4", "b.mp4", "c.mp4"))
    message = failure(made, batch)
    assert "at step 1, stage 'images'. First bad: the batch's latents of sample 1, b.mp4. " in message
    assert "Lower the learning_rate. The weights of step 0 are kept. " in message
    assert message.endswith("Files of the batch: a.mp4, b.mp4, c.mp4")


def test_a_bad_weight_is_named():
    made = trainer()
    name = "spatial_blocks.0.mlp.fc1.bias"
    bad = np.array(made.state.params[name])
    bad[2] = np.inf
    made.state = made.state._replace(params={**made.state.params, name: bad})
    assert f"First bad: the weight {name}." in failure(made, made.batch(0))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_op_that_overflows_is_named_with_its_place_in_the_model(backend):
    made = trainer(backend)
    name = "spatial_blocks.0.mlp.fc2.weight"
    huge = made.ops.asarray(np.full(tuple(made.state.params[name].shape), 3e38, np.float32))
    ones = made.ops.asarray(np.full(64, 100.0, np.float32))
    params = {**made.state.params, name: huge, "spatial_blocks.0.mlp.fc1.bias": ones}
    made.state = made.state._replace(params=params)
    message = failure(made, made.batch(0))
    assert "First bad: the result of linear in spatial_blocks.0.mlp.fc2 (opensora_core/nn/" in message, message


def test_what_overflows_only_on_the_way_back_is_told_as_such():
    made = trainer()
    batch, params = made.batch(0), {"w": np.zeros(3, np.float32)}

    def root(places):
        return lambda ops, weights: ops.sum(ops.sqrt(weights["w"]))  # its slope at 0 is infinite

    assert first_bad(made.ops, root, params, batch).startswith(
        "on the way back from the loss, the result of divide in "
    )

    def square(places):
        return lambda ops, weights: ops.sum(weights["w"] * weights["w"])

    assert first_bad(made.ops, square, params, batch) == (
        "none when the step is done again; the largest gradient is that of w"
    )
