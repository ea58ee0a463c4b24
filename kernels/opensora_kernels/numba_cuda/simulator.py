"""numba-cuda's simulator, made to switch threads in an order one chooses, and given what warps do.

As shipped it runs CUDA threads as threads of the system, without shuffles or `syncwarp`, and lets a barrier pass that
only some threads reach. Here they are greenlets: a thread runs until it must wait, the next one follows, in ORDERS.

    import opensora_kernels.numba_cuda.simulator as simulator   # before anything imports numba.cuda

    with simulator.order("reverse"):
        kernel[grid, block](x)

It leans on numba-cuda's internals, so numba-cuda has to be of the version it was written for. For tests only.
"""

from __future__ import annotations

import importlib.util
import os
import random
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet

if importlib.util.find_spec("numba_cuda") is None:  # Numba has a deprecated numba.cuda of its own
    raise ModuleNotFoundError("the simulator is that of numba-cuda: pip install numba-cuda", name="numba_cuda")
SWITCH = "NUMBA_ENABLE_CUDASIM"
_before = os.environ.get(SWITCH)
os.environ[SWITCH] = "1"
try:
    from numba.core import config

    config.reload_config()  # in case Numba has been imported
    from numba import cuda
finally:
    os.environ.pop(SWITCH) if _before is None else os.environ.update({SWITCH: _before})
if "simulator" not in cuda.jit.__module__:
    raise ImportError("numba.cuda had been imported before its simulator was asked for")

from numba.cuda.simulator import kernel as _kernel  # noqa: E402
from numba.cuda.simulator import kernelapi as _api  # noqa: E402
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray  # noqa: E402

ORDERS = ("forward", "reverse", "random")
WARP = 32
_order = "forward"


class SimulationError(RuntimeError):
    """Threads wait for others that will not come."""


@contextmanager
def order(name: str) -> Iterator[None]:
    """Let the threads of a block run in one of ORDERS."""
    global _order
    before, _order = _order, name
    try:
        yield
    finally:
        _order = before


class _Thread:
    """What a kernel sees of its thread, with the names of the simulator's own class."""

    def __init__(self, block: _Block, index: tuple[int, int, int]) -> None:
        self.block, self.blockIdx, self.threadIdx = block, block.index, _api.Dim3(*index)
        x, y, _ = block.shape
        self.thread_id = index[0] + x * (index[1] + y * index[2])
        self.waits_for = ""  # "", "block" or "warp"
        self.received: dict[int, Any] = {}
        self.fiber = greenlet(block.body)

    def wait(self, what: str) -> None:
        self.waits_for = what
        self.block.scheduler.switch()

    def syncthreads(self) -> None:
        self.wait("block")

    def exchange(self, value: Any, mask: int) -> dict[int, Any]:
        """Give a value to the lanes of the mask in this warp, and return theirs by lane."""
        return self.block.meet(self, value, mask)


class _Block:
    def __init__(self, body: Callable[[], None], index: tuple[int, ...], shape: tuple[int, ...]) -> None:
        x, y, z = (*shape, 1, 1)[:3]
        self.body, self.shape = body, (x, y, z)
        self.index = _api.Dim3(*(*index, 0, 0)[:3])
        self.scheduler = getcurrent()
        self.meetings: dict[tuple[int, int], dict[int, tuple[_Thread, Any]]] = {}
        self.threads = [_Thread(self, (i % x, i // x % y, i // (x * y))) for i in range(x * y * z)]

    def run(self) -> None:
        """Run all threads to their end; SimulationError where some wait for others that have ended or wait too."""
        chance, live = random.Random(0), list(self.threads)
        while live:
            ready = [thread for thread in live if not thread.waits_for]
            if not ready:
                self._pass_barrier(live)
                continue
            if _order == "reverse":
                ready.reverse()
            elif _order == "random":
                chance.shuffle(ready)
            for thread in ready:
                self._switch(thread)
            live = [thread for thread in live if not thread.fiber.dead]

    def _switch(self, thread: _Thread) -> None:
        global _running
        _running = thread
        try:
            thread.fiber.switch()
        except Exception as error:
            error.add_note(f"in thread {thread.threadIdx} of block {thread.blockIdx}")
            raise

    def _pass_barrier(self, live: list[_Thread]) -> None:
        if len(live) < len(self.threads) or any(thread.waits_for != "block" for thread in live):
            waiting = ", ".join(f"{thread.thread_id} for its {thread.waits_for}" for thread in live[:8])
            raise SimulationError(f"threads of block {self.index} wait for others that do not come: {waiting}")
        for thread in live:
            thread.waits_for = ""

    def meet(self, thread: _Thread, value: Any, mask: int) -> dict[int, Any]:
        warp, lane = divmod(thread.thread_id, WARP)
        wanted = {i for i in range(min(WARP, len(self.threads) - WARP * warp)) if mask >> i & 1}
        if lane not in wanted:
            raise SimulationError(f"lane {lane} is not in the mask {mask:#x} of its own instruction")
        there = self.meetings.setdefault((warp, mask), {})
        there[lane] = (thread, value)
        if there.keys() != wanted:
            thread.wait("warp")
            return thread.received
        del self.meetings[warp, mask]
        values = {i: given for i, (_, given) in there.items()}
        for other, _ in there.values():
            other.received, other.waits_for = values, ""
        return values


_running: _Thread


def _run_block(manager: Any, grid_point: tuple[int, ...], *args: Any) -> None:
    _Block(lambda: manager._f(*args), grid_point, manager._block_dim).run()


def _shuffle(source: Callable[[int, int], int]) -> Callable[..., Any]:
    def shuffle(_: Any, mask: int, value: Any, argument: int) -> Any:
        values, lane = _running.exchange(value, mask), _running.thread_id % WARP
        return values.get(source(lane, argument), value)

    return shuffle


def _syncwarp(_: Any, mask: int = 0xFFFFFFFF) -> None:
    _running.exchange(None, mask)


_kernel.BlockManager.run = _run_block
_api.threading = types.SimpleNamespace(current_thread=lambda: _running, Lock=_api.threading.Lock)
cuda.external_stream = lambda pointer: 0  # everything is done at once
cuda.as_cuda_array = lambda x, sync=True: FakeCUDAArray(x.view(np.ndarray))  # of any strides, and no copy
_api.FakeCUDAModule.syncwarp = _syncwarp
_api.FakeCUDAModule.shfl_sync = _shuffle(lambda lane, at: at % WARP)
_api.FakeCUDAModule.shfl_xor_sync = _shuffle(lambda lane, bits: lane ^ bits)
_api.FakeCUDAModule.shfl_down_sync = _shuffle(lambda lane, by: lane + by)
_api.FakeCUDAModule.shfl_up_sync = _shuffle(lambda lane, by: lane - by)
