"""What measuring commands share: options, turns, ratios within one run, and the file of results."""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .machine import describe_machine, ran_again


def parser_of(about: str, repeat: int | None = None) -> argparse.ArgumentParser:
    """A parser of --threads and --json, and of --repeat where a number of turns is given; a command adds its own."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--threads", type=int, default=1, help="of BLAS, Torch and the kernels alike (default 1)")
    if repeat is not None:
        parser.add_argument("--repeat", type=int, default=repeat, help=f"turns of everybody (default {repeat})")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    return parser


def read_options(
    parser: argparse.ArgumentParser, module: str, arguments: Sequence[str] | None
) -> argparse.Namespace | None:
    """Read the options; None where the module was run again in a process with those threads."""
    options = parser.parse_args(arguments)
    for name in ("threads", "repeat"):
        if getattr(options, name, 1) < 1:
            parser.error(f"--{name} must be at least 1")
    return None if ran_again(module, options.threads, arguments) else options


def options_of(module: str, about: str, repeat: int, arguments: Sequence[str] | None) -> argparse.Namespace | None:
    """Read --threads, --repeat and --json alone, see `read_options`."""
    return read_options(parser_of(about, repeat), module, arguments)


def clock_of(threads: int) -> Callable[[], float]:
    """Seconds: of the processor's work for one thread, which nobody else on the machine stretches, else of the wall."""
    return time.process_time if threads == 1 else time.perf_counter


def turns(
    calls: Mapping[str, Callable[[], Any]], repeat: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every turn of every call, each first in half of the turns, without the garbage collector."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for turn in range(repeat):
            for name in list(calls)[:: -1 if turn % 2 else 1]:
                start = clock()
                calls[name]()
                seconds[name].append(clock() - start)
    finally:
        gc.enable()
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], of: str, to: str) -> dict[str, Any]:
    """By how much `to` is faster than `of`: the median of the ratios of turns next to each other, and its quartiles."""
    import numpy as np

    found = [a / b for a, b in zip(seconds[of], seconds[to], strict=True)]
    low, middle, high = np.quantile(found, [0.25, 0.5, 0.75]).round(3).tolist()
    return {"median": middle, "quartiles": [low, high]}


def milliseconds(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median by name."""
    import numpy as np

    return {name: round(1e3 * float(np.median(times)), 3) for name, times in seconds.items()}


def write(options: argparse.Namespace, benchmark: str, packages: Sequence[str], found: Mapping[str, Any]) -> None:
    """Write the results with the machine's description, if the command asked for a file."""
    if options.json is None:
        return
    about = {
        "benchmark": benchmark,
        "threads": options.threads,
        "turns": options.repeat,
        "clock": "processor time" if options.threads == 1 else "wall clock",
        "machine": describe_machine(packages),
    }
    write_json(options.json, {**about, **found})


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a file of results, whole or not at all."""
    from opensora_core.serialization.atomic import atomic_file

    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n")
