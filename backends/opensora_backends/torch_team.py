"""Training on several devices by torch.distributed: data parallel, the optimizer's moments shared out (ZeRO 1)."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.distributed as dist

from opensora_core.errors import InvalidInputError, MissingDependencyError
from opensora_core.ops import Array, Ops
from opensora_core.training.optimizer import AdamState, AdamW, Params, flatten, unflatten
from opensora_core.training.team import Team

# Torch renamed them (2.13); the older names warn.
reduce_scatter = getattr(dist, "reduce_scatter_single", None) or getattr(dist, "reduce_scatter_tensor", None)
all_gather = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)


class TorchTeam(Team):
    """Processes started by torchrun: gloo on the CPU, NCCL on GPUs, one for each process.

    An interruption of one process is known to all at their next common call, so that they stop, and save, at one step.
    Raises InvalidInputError for a device that the processes would have to share, MissingDependencyError for a torch
    that was built without what is needed.
    """

    def __init__(self, ops: Ops) -> None:
        self.device, self._interrupted = ops.device, False
        if ops.device.startswith("cuda"):
            _take_own_gpu(ops.device)
        engine = "nccl" if ops.device.startswith("cuda") else "gloo"
        if not dist.is_available() or not getattr(dist, f"is_{engine}_available")():
            raise MissingDependencyError(f"this torch was built without {engine}, which several processes need")
        dist.init_process_group(engine)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._interrupt)

    def _interrupt(self, *_: Any) -> None:
        self._interrupted = True

    def optimizer(self, plain: AdamW) -> AdamW:
        own = {f.name: getattr(plain, f.name) for f in fields(AdamW)}
        return ShardedAdamW(**own, rank=self.rank, size=self.size)

    def whole(self, ops: Ops, moments: AdamState, count: int) -> AdamState:
        return AdamState(*(_gathered(a, self.size)[:count] for a in moments))

    def share(self, ops: Ops, moments: AdamState) -> AdamState:
        return AdamState(*(_own_part(_padded(ops, a, self.size), self.rank, self.size).clone() for a in moments))

    def sum(self, values: Sequence[float]) -> list[float]:
        return self._reduced(values, dist.ReduceOp.SUM)

    def mean(self, value: float) -> float:
        return self.sum([value])[0] / self.size

    def any(self, said: bool) -> bool:
        yes, interrupted = self._reduced([float(said), float(self._interrupted)], dist.ReduceOp.MAX)
        if interrupted:
            raise KeyboardInterrupt
        return bool(yes)

    def _reduced(self, values: Sequence[float], how: Any) -> list[float]:
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(shared, op=how)
        return shared.tolist()

    def barrier(self) -> None:
        dist.barrier()

    def leave(self) -> None:
        dist.destroy_process_group()


@dataclass(frozen=True)
class ShardedAdamW(AdamW):
    """AdamW of which every process keeps the moments of one part of the flat vector (Rajbhandari et al. 2020, stage 1).

    Each gets the mean gradient of its part (reduce-scatter), updates that part, and all get all parts (all-gather): as
    much communication as averaging the gradients alone. What the vector lacks to equal parts is filled up with zeros.
    """

    rank: int = 0
    size: int = 1

    def init(self, ops: Ops, params: Params) -> AdamState:
        dtype = ops.widen(next(iter(params.values()))).dtype
        share = math.ceil(sum(math.prod(p.shape) for p in params.values()) / self.size)
        zeros = ops.full((share,), 0.0, dtype)
        return AdamState(zeros, zeros)

    def update(
        self, ops: Ops, params: Params, grads: Params, state: AdamState, step: int, rate: float | None = None
    ) -> tuple[dict[str, Array], AdamState]:
        rate = self.learning_rate if rate is None else rate
        flat = _padded(ops, flatten(ops, {name: grads[name] for name in params}), self.size)
        gradient = flat.new_empty(len(flat) // self.size)
        reduce_scatter(gradient, flat)
        gradient = gradient / self.size
        squares = ops.sum(gradient * gradient)
        dist.all_reduce(squares)
        clip = self.clip_norm / ops.maximum(ops.sqrt(squares), self.clip_norm)
        own = _own_part(_padded(ops, flatten(ops, params), self.size), self.rank, self.size)
        own, *moments = ops.adamw_step(
            own, gradient, state.mean, state.square, step, rate, self.betas, self.eps, self.weight_decay, clip
        )
        return unflatten(ops, _gathered(own, self.size), params), AdamState(*moments)


def _padded(ops: Ops, vector: Array, size: int) -> Array:
    return ops.pad(vector, (0,), (-len(vector) % size,), (0,))


def _own_part(vector: Array, rank: int, size: int) -> Array:
    share = len(vector) // size
    return vector[rank * share : (rank + 1) * share]


def _gathered(part: Array, size: int) -> Array:
    whole = torch.empty(len(part) * size, dtype=part.dtype, device=part.device)
    all_gather(whole, part.contiguous())
    return whole


def _take_own_gpu(device: str) -> None:
    if device != "cuda":
        raise InvalidInputError(f"device={device!r} would be shared by all processes: say cuda, and each takes its own")
    number, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= found:
        raise InvalidInputError(f"process {number + 1} of this machine needs a GPU of its own, and there are {found}")
    torch.cuda.set_device(number)
