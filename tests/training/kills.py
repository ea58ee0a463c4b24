"""Processes that are killed while they save checkpoints: `python -m tests.training.kills --kills 200 --seed 0`.

Each process goes on from the newest checkpoint and saves one after the other, some of them twice, until SIGKILL comes
at a random moment. A step that was told as saved must then be there, whole, or a later one.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from opensora_core.registry import get_backend
from opensora_core.serialization.leftovers import put_back, remove_leftovers
from opensora_core.training.checkpoints import TrainState, latest_checkpoint, save_checkpoint
from opensora_core.training.optimizer import AdamState

OPS = get_backend("numpy")
NUMBERS = 20_000  # in each of four arrays
BYTES = 8  # of a step in the pipe


def state(step: int) -> TrainState:
    """A state that tells its step in every number."""
    params, ema, mean, square = (np.full(NUMBERS, 4 * step + n, np.float32) for n in range(4))
    return TrainState(step, {"a": params}, {"a": ema}, AdamState(mean, square))


def loaded(folder: Path) -> int:
    """Step of the newest checkpoint, 0 without one, after a look at its numbers."""
    found = latest_checkpoint(OPS, folder, state(0))
    if found is None:
        return 0
    numbers = (found.params["a"], found.ema["a"], *found.moments)
    assert all((a == 4 * found.step + n).all() for n, a in enumerate(numbers)), f"step {found.step} is not what it was"
    return found.step


def save_for_ever(folder: Path, pipe: int, keep: int) -> None:
    """Go on from the newest checkpoint; tell each step when it is saved."""
    remove_leftovers(folder)
    step = loaded(folder)
    while True:
        step += 1
        for _ in range(1 + step % 2):  # every other one takes the place of itself
            save_checkpoint(OPS, folder, state(step), keep=keep)
            os.write(pipe, step.to_bytes(BYTES))


def kill_one(folder: Path, delay: float, keep: int) -> tuple[int, bytes]:
    """Let a process save for `delay` seconds, kill it, and return how it ended and what it told."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            save_for_ever(folder, writer, keep)
        finally:
            os._exit(1)
    os.close(writer)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with open(reader, "rb") as told:
        return os.waitstatus_to_exitcode(status), told.read()


def kill_many(folder: Path, kills: int, seed: int) -> Counter[str]:
    """Kill so many processes, each while it saves; returns what they left behind. AssertionError for any loss."""
    random_delay, seen, saved = random.Random(seed), Counter[str](), 0
    folder.mkdir(exist_ok=True)
    for number in range(kills):
        code, told = kill_one(folder, random_delay.uniform(0.001, 0.05), keep=1 + number % 2)
        assert code == -signal.SIGKILL, f"the process ended by itself with {code}"
        saved = max([saved, *(int.from_bytes(told[i : i + BYTES]) for i in range(0, len(told), BYTES))])
        seen["told as saved"] = saved
        seen["cut off in a save"] += any(path.name.startswith(".opensora-") for path in folder.iterdir())
        seen["between two renames"] += bool(put_back(folder))
        step = loaded(folder)
        assert step >= saved, f"kill {number}: step {saved} was saved, step {step} is the newest there"
        saved = step
    remove_leftovers(folder)
    left = sorted(path.name for path in folder.iterdir())
    assert all(name.startswith("step-") for name in left), left
    return seen


def main() -> None:
    """Kill, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("error")  # a checkpoint that is passed over is one too many
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seen = kill_many(Path(folder) / "run", options.kills, options.seed)
    told = ", ".join(f"{name}: {count}" for name, count in seen.items())
    print(f"{options.kills} kills in {time.monotonic() - began:.1f} s, nothing lost; {told}")


if __name__ == "__main__":
    main()
