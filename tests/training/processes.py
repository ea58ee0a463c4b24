"""Starting processes that work together, as torchrun does and by it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = os.pathsep.join(str(ROOT / source) for source in ("", "backends", "kernels"))


def environment(**extra: str) -> dict[str, str]:
    """Of a process that finds the checkout and leaves the other processors alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENSORA_")}
    return {**kept, "PYTHONPATH": CHECKOUT, "OMP_NUM_THREADS": "1", **extra}


def start(arguments: Sequence[object], size: int = 2) -> list[subprocess.Popen[str]]:
    """Start `python ARGUMENTS` several times, each told its rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(size)}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=environment(**place, RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def finish(processes: list[subprocess.Popen[str]], code: int = 0) -> list[tuple[str, str]]:
    """What they wrote to stdout and stderr; each must end with the code, and none outlives the call."""
    try:
        told = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [code] * len(processes), told[0][1][-2000:]
    return told
