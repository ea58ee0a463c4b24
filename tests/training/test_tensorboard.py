"""Curves for TensorBoard, read back from the file that it reads."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from opensora_core.errors import MissingDependencyError
from opensora_core.testing.conformance import require
from opensora_core.training.tensorboard import TensorBoard
from tests.training.tiny import trainer


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """By name and step, of all event files: records of a length, its checksum, an event, and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
            at += length + 16
    return found


def test_the_curves_are_those_of_the_steps(tmp_path):
    require("tensorboardX")
    made = trainer(validation={"every": 4, "batches": 1, "timesteps": [500]})
    with TensorBoard(tmp_path) as board:
        made.callbacks.append(board)
        steps = list(made.run())
    told = scalars(tmp_path)
    assert told["train/loss"] == pytest.approx({step.step: step.loss for step in steps}, rel=1e-6)
    assert told["train/learning_rate"] == pytest.approx({step.step: step.learning_rate for step in steps}, rel=1e-6)
    assert set(told["train/samples_per_second"]) == set(range(1, 9))
    assert told["validation/mean"] == pytest.approx({s: steps[s - 1].validation["mean"] for s in (4, 8)}, rel=1e-6)
    assert told["validation/500"] == told["validation/mean"]


def test_without_tensorboardx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'opensora-core\[tensorboard\]'"):
        TensorBoard(tmp_path)
    assert list(tmp_path.iterdir()) == []
