"""Latents decoded in parts and as a whole: the most memory and the time of each way, as ratios within one run.

python -m opensora_benchmarks.vae_tiling [--threads 1] [--repeat 3] [--json FILE]

Random weights in few channels, and frames large beside them: activations are nearly all of the memory, as they are in
the published autoencoders. Memory is by how much the process grows at most (on Linux). Work is counted, in FLOPs.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from .memory import peak_of_process
from .standing import clock_of, milliseconds, options_of, ratio, turns, write

BACKENDS = ("numpy", "torch")
WHOLE = "whole"
MEMORY, TIME = 0.25, 1.3  # of the whole, which decoding in parts should not exceed
SAME = 1e-5  # relative distance from the whole that float32 may leave where parts change no number
GROUPS, TILE = 8, 64


class Case(NamedTuple):
    """An autoencoder set up in several ways by name, the first being WHOLE, and the shape of its latents."""

    ways: Mapping[str, Any]
    latents: tuple[int, ...]
    exact: bool


def cases() -> dict[str, Case]:
    """By class: frames in micro-batches, alone and after the decoder of time, and tiles of a frame."""
    from opensora_core.nn.init import RandomInit
    from opensora_core.vae.causal3d import HunyuanVAE, HunyuanVAEConfig
    from opensora_core.vae.image import AutoencoderKLConfig, FrameVAE
    from opensora_core.vae.temporal import TemporalVAEConfig
    from opensora_core.vae.two_stage import TwoStageConfig, TwoStageVAE

    images = AutoencoderKLConfig(block_out_channels=(16, 16, 32, 32), norm_num_groups=GROUPS)
    batches: dict[str, int | None] = {WHOLE: None, "4 frames at a time": 4, "1 frame at a time": 1}
    frames = FrameVAE.create(images, RandomInit(0))
    by_frame = {name: replace(frames, config=replace(images, micro_batch_size=n)) for name, n in batches.items()}
    time = TemporalVAEConfig(filters=16, num_groups=GROUPS)
    both = TwoStageVAE.create(TwoStageConfig(images, time), RandomInit(0))

    causal = HunyuanVAEConfig(block_out_channels=(32,) * 4, norm_num_groups=GROUPS, sample_size=TILE)
    video = HunyuanVAE.create(causal, RandomInit(0))
    tiles = {f"tiles overlap by {share}": replace(causal, tile_overlap_factor=share) for share in (0.25, 0.125)}
    settings = {WHOLE: replace(causal, use_spatial_tiling=False), **tiles}
    return {
        "FrameVAE": Case(by_frame, (1, 4, 34, 12, 12), True),
        "TwoStageVAE": Case({n: replace(both, spatial_vae=f) for n, f in by_frame.items()}, (1, 4, 10, 12, 12), True),
        "HunyuanVAE": Case({n: replace(video, config=c) for n, c in settings.items()}, (1, 16, 2, 21, 21), False),
    }


def measure(case: Case, backend: str, repeat: int, threads: int) -> dict[str, Any]:
    """Of every way: milliseconds, megabytes, FLOPs; of those in parts also each of them beside the whole."""
    import numpy as np

    from opensora_core import get_backend
    from opensora_core.accuracy import relative_l2
    from opensora_core.interpose import FlopCounter
    from opensora_core.module import to_backend

    ops = get_backend(backend, device="cpu")
    latents = ops.asarray(np.random.default_rng(0).standard_normal(case.latents, np.float32))
    ways = {name: to_backend(ops, vae) for name, vae in case.ways.items()}
    videos, flops = {}, {}
    for name, vae in ways.items():
        counter = FlopCounter(ops)
        videos[name] = np.asarray(counter.to_numpy(vae.decode(counter, latents)), np.float64)
        flops[name] = counter.total.flops
    apart = {name: relative_l2(videos[name], videos[WHOLE]) for name in ways}
    if case.exact and not max(apart.values()) < SAME:
        raise SystemExit(f"decoded in parts, frames are {max(apart.values()):.1e} apart: nothing to time")
    calls = {name: functools.partial(vae.decode, ops, latents) for name, vae in ways.items()}
    peaks = {name: statistics.median(_megabytes(call) for _ in range(repeat)) for name, call in calls.items()}
    seconds = turns(calls, repeat, clock_of(threads))
    parts = {
        name: {
            "memory": round(peaks[name] / peaks[WHOLE], 3),
            "time": ratio(seconds, name, WHOLE),
            "work": round(flops[name] / flops[WHOLE], 3),
            "apart": float(f"{apart[name]:.2g}"),
        }
        for name in list(ways)[1:]
    }
    return {"milliseconds": milliseconds(seconds), "peak_megabytes": peaks, "of_the_whole": parts}


def _megabytes(call: Any) -> float:
    peak = peak_of_process(call)
    if peak is None:
        raise SystemExit("what memory a call takes is known on Linux only")
    return round(peak / 1e6, 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    options = options_of("opensora_benchmarks.vae_tiling", "Decode latents in parts and whole.", 3, arguments)
    if options is None:
        return
    rows: dict[str, Any] = {}
    for name, case in cases().items():
        rows[name] = {"latents": case.latents, "backends": {}}
        for backend in BACKENDS:
            row = rows[name]["backends"][backend] = measure(case, backend, options.repeat, options.threads)
            print(f"{name} on {backend}: whole {row['milliseconds'][WHOLE]} ms, {row['peak_megabytes'][WHOLE]} MB")
            for way, part in row["of_the_whole"].items():
                print(f"  {way:24} memory {part['memory']}, time {part['time']['median']}, ", end="")
                print(f"work {part['work']}, apart {part['apart']}", flush=True)
    limits = {"memory": MEMORY, "time": TIME}
    write(options, "vae_tiling", BACKENDS, {"limits": limits, "autoencoders": rows})


if __name__ == "__main__":
    main()
