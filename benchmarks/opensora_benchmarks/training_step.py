"""A training step of STDiT3 on the Torch backend beside the same step in plain PyTorch: samples a second, peak memory.

python -m opensora_benchmarks.training_step [--threads 1] [--repeat 15] [--sizes embedded,wide] [--json FILE]

A step is the loss of rectified flow, its gradients, clipping and AdamW, in float32, each with and without activation
checkpointing. All variants start from the same weights and get the same batch, turn by turn in one process; their first
losses must agree. What counts is the median over turns of the ratio of two times taken right after each other. Peak
memory is that of tensors, from the records of Torch's own allocator, with weights, moments and gradients: it does not
depend on what else the machine does.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any

from .machine import describe_machine
from .standing import parser_of, read_options, write_json
from .training_variants import SIZES, Ours, Plain, Size, Variant

AGREEMENT = 1e-5  # relative distance of losses that float32 may leave
STEPS = 3  # whose losses are compared; they warm up as well


def peak_bytes(variant: Variant) -> int:
    """Most bytes of tensors that are alive at once in a step, those that live from step to step included."""
    from torch.profiler import ProfilerActivity, profile

    before = list(variant.held())
    alive = most = sum(x.nbytes for x in before)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        variant.step()
    assert record.profiler is not None
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    return most


def measure(size: Size, repeat: int) -> dict[str, Any]:
    """Samples a second, ratios to plain PyTorch and peak megabytes, by variant."""
    import numpy as np

    variants: dict[str, Variant] = {
        "ours": Ours(size, False),
        "plain": Plain(size, False),
        "ours checkpointed": Ours(size, True),
        "plain checkpointed": Plain(size, True),
    }
    losses = {name: [variant.step() for _ in range(STEPS)] for name, variant in variants.items()}
    apart = max(abs(a / b - 1) for found in losses.values() for a, b in zip(found, losses["plain"], strict=True))
    if not apart < AGREEMENT:
        raise SystemExit(f"the losses are {apart:.1e} apart, nothing to time: {losses}")
    peaks = {name: round(peak_bytes(variant) / 1e6, 1) for name, variant in variants.items()}
    seconds = _turns(variants, repeat)
    ratios = {
        f"ours{how}": [p / o for o, p in zip(seconds[f"ours{how}"], seconds[f"plain{how}"], strict=True)]
        for how in ("", " checkpointed")
    }
    return {
        "size": size._asdict(),
        "losses_apart": apart,
        "samples_per_second": {
            name: round(size.batch_size / float(np.median(times)), 2) for name, times in seconds.items()
        },
        "throughput_of_plain": {name: round(float(np.median(found)), 3) for name, found in ratios.items()},
        "quartiles": {name: np.quantile(found, [0.25, 0.75]).round(3).tolist() for name, found in ratios.items()},
        "peak_megabytes": peaks,
    }


def _turns(variants: dict[str, Variant], repeat: int) -> dict[str, list[float]]:
    """Seconds of every turn of every variant, each first in half of the turns."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    gc.disable()
    for turn in range(repeat):
        for name in list(variants)[:: -1 if turn % 2 else 1]:
            start = time.perf_counter()
            variants[name].step()
            seconds[name].append(time.perf_counter() - start)
        gc.collect()
    gc.enable()
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    parser = parser_of("Time a training step beside plain PyTorch.", 15)
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"of {', '.join(SIZES)} (default: all)")
    options = read_options(parser, "opensora_benchmarks.training_step", arguments)
    if options is None:
        return
    sizes = options.sizes.split(",")
    if unknown := set(sizes) - set(SIZES):
        parser.error(f"--sizes: {', '.join(sorted(unknown))} is not one of {', '.join(SIZES)}")

    document: dict[str, Any] = {
        "benchmark": "training_step", "dtype": "float32", "threads": options.threads, "turns": options.repeat,
        "machine": describe_machine(["numpy", "torch"]), "sizes": {},
    }  # fmt: skip
    for name in sizes:
        row = document["sizes"][name] = measure(SIZES[name], options.repeat)
        print(f"{name} {tuple(SIZES[name])}, {options.threads} thread(s), losses {row['losses_apart']:.0e} apart")
        for variant, rate in row["samples_per_second"].items():
            ratio = row["throughput_of_plain"].get(variant)
            beside = "" if ratio is None else f"   {ratio:.3f} of plain PyTorch {row['quartiles'][variant]}"
            print(f"  {variant:18} {rate:8.2f} samples/s {row['peak_megabytes'][variant]:8.1f} MB{beside}", flush=True)
    if options.json:
        write_json(options.json, document)


if __name__ == "__main__":
    main()
