"""From a step to the files of its batch: epochs over everything, each bucket shuffled, buckets in random order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from ...errors import InvalidInputError
from ...random import generator
from ..stages import Bucket

PATIENCE = 100  # epochs without a batch after which none is to be expected


@dataclass(frozen=True)
class Draw:
    """One batch: its bucket, the numbers of all files of the bucket in this epoch's order, and where it begins."""

    bucket: Bucket
    order: tuple[int, ...]
    start: int
    epoch: int

    def file(self, place: int) -> int:
        """Number of the file at a place of the batch; places beyond the batch are those that may stand in."""
        return self.order[(self.start + place) % len(self.order)]


class BucketSampler:
    """The batches of an endless sequence of epochs, a pure function of the seed and the step.

    In every epoch each file goes to one bucket or none; a bucket's files are shuffled and cut into batches, and the
    batches of all buckets follow each other in random order. What is left over by a bucket is filled up with its files
    from the beginning, or with `drop_last` left out. Several ranks deal the steps: rank r of n takes n * step + r.

    Args:
        place: epoch -> the bucket of every file, None for one that is left out.
        seed: of the order.
        drop_last: leave out what does not fill a batch.
        size: how many files a batch of a bucket takes, by default its batch_size.
    """

    def __init__(
        self,
        place: Callable[[int], Sequence[Bucket | None]],
        seed: int,
        drop_last: bool = False,
        size: Callable[[Bucket], int] = attrgetter("batch_size"),
    ) -> None:
        self._place, self._seed, self._drop_last, self._size = place, seed, drop_last, size
        self._ends: list[int] = []  # number of batches up to the end of each epoch
        self._plans: dict[int, list[Draw]] = {}  # of the last epochs asked for
        self._lock = threading.Lock()

    def draw(self, step: int) -> Draw:
        """The batch of a step (0-based); raises InvalidInputError where no epoch has one."""
        with self._lock:
            while not self._ends or self._ends[-1] <= step:
                self._add_epoch()
            epoch = int(np.searchsorted(self._ends, step, side="right"))
            start = self._ends[epoch - 1] if epoch else 0
            return self._plan(epoch)[step - start]

    def _add_epoch(self) -> None:
        count = len(self._plan(len(self._ends)))
        self._ends.append(count + (self._ends[-1] if self._ends else 0))
        if len(self._ends) >= PATIENCE and self._ends[-PATIENCE] == self._ends[-1]:
            raise InvalidInputError(
                f"no batch came about in {PATIENCE} epochs: no bucket takes these files, or none has as many as its "
                "batch_size; add smaller or shorter buckets, lower the batch_size, or leave drop_last out"
            )

    def _plan(self, epoch: int) -> list[Draw]:
        if epoch not in self._plans:
            self._plans[epoch] = self._make(epoch)
            for old in list(self._plans)[:-2]:
                del self._plans[old]
        return self._plans[epoch]

    def _make(self, epoch: int) -> list[Draw]:
        groups: dict[Bucket, list[int]] = {}
        for index, bucket in enumerate(self._place(epoch)):
            if bucket is not None:
                groups.setdefault(bucket, []).append(index)
        rng = generator(self._seed, "epoch", epoch)
        draws = [draw for bucket, files in groups.items() for draw in self._cut(bucket, files, epoch, rng)]
        return [draws[i] for i in rng.permutation(len(draws))]

    def _cut(self, bucket: Bucket, files: list[int], epoch: int, rng: np.random.Generator) -> list[Draw]:
        size = self._size(bucket)
        order = tuple(rng.permutation(files).tolist())
        count = len(order) // size if self._drop_last else -(-len(order) // size)
        return [Draw(bucket, order, i * size, epoch) for i in range(count)]
