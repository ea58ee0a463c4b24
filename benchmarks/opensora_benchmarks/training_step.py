"""A training step of STDiT3 on the Torch backend beside the same step in plain PyTorch: samples a second, peak memory.

python -m opensora_benchmarks.training_step [--threads 1] [--repeat 15] [--sizes embedded,wide] [--json FILE]

A step is the loss of rectified flow, its gradients, clipping and AdamW, in float32, each with and without activation
checkpointing. All variants start from the same weights and get the same batch, turn by turn in one process; their first
losses must agree. What counts is the median over turns of the ratio of two times taken right after each other. Peak
memory is that of tensors, from the records of Torch's own allocator, with weights, moments and gradients: it does not
depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .machine import describe_machine, ran_again

AGREEMENT = 1e-5  # relative distance of losses that float32 may leave
STEPS = 3  # whose losses are compared; they warm up as well
RATE, BETAS = 1e-3, (0.9, 0.98)
SIDE, T, CHANNELS, CAPTION, WORDS = 64.0, 5, 48, 128, 24  # pixels, latent frames and channels; width, length of texts


class Size(NamedTuple):
    """Channels, attention heads, pairs of blocks, samples of a batch."""

    hidden_size: int
    num_heads: int
    depth: int
    batch_size: int


SIZES = {"embedded": Size(128, 4, 4, 16), "wide": Size(512, 8, 4, 8)}


class Variant(Protocol):
    """One way of training."""

    def step(self) -> float:
        """Train on the batch, return the loss."""

    def held(self) -> Iterable[Any]:
        """Weights and moments, which live from step to step."""


def make_config(size: Size) -> Any:
    """The embedded model's configuration at another width."""
    from opensora_core.dit.config import STDiT3Config

    return STDiT3Config(
        input_sq_size=1024, in_channels=CHANNELS, patch_size=(1, 1, 2), hidden_size=size.hidden_size, depth=size.depth,
        num_heads=size.num_heads, pred_sigma=False, caption_channels=CAPTION, model_max_length=WORDS,
        frame_time_fps=8.0, pooled_caption=True,
    )  # fmt: skip


def make_weights(config: Any) -> dict[str, Any]:
    """Initial weights, with noise where they are zero."""
    import numpy as np

    from opensora_core.dit.stdit3 import STDiT3
    from opensora_core.module import state_dict
    from opensora_core.nn.init import RandomInit

    rng = np.random.default_rng(0)
    initial = state_dict(STDiT3.create(config, RandomInit(0)))
    return {n: np.asarray(p if p.any() else 0.02 * rng.standard_normal(p.shape), "f4") for n, p in initial.items()}


def make_batch(size: Size) -> dict[str, Any]:
    """Noise for latents and text, captions of different lengths, some of them dropped."""
    import numpy as np

    rng, B = np.random.default_rng(1), size.batch_size
    video, text = (B, CHANNELS, T, 8, 8), (B, WORDS, CAPTION)
    return {
        **{name: rng.standard_normal(video, np.float32) for name in ("latents", "noise")},
        "t": np.linspace(50, 950, B, dtype=np.float32),
        "text": rng.standard_normal(text, np.float32),
        "text_mask": np.arange(WORDS) < rng.integers(5, WORDS, (B, 1)),
        "drop": np.arange(B) % 8 == 0,
        "fps": np.full(B, 8.0, np.float32),
    }


class Ours:
    """The step as this library's trainer takes it, by default on Torch."""

    def __init__(self, size: Size, checkpointing: bool, ops: Any = None) -> None:
        from opensora_core import get_backend
        from opensora_core.dit.stdit3 import STDiT3
        from opensora_core.nn.init import RandomInit
        from opensora_core.training.optimizer import AdamW

        config = make_config(size)
        self.ops, self.checkpointing = ops or get_backend("torch", device="cpu"), checkpointing
        self.batch = {name: self.ops.asarray(a) for name, a in make_batch(size).items()}
        self.template = STDiT3.create(config, RandomInit(0))
        self.params = {name: self.ops.asarray(a) for name, a in make_weights(config).items()}
        self.constant = {"rope.freqs": self.params.pop("rope.freqs")}
        self.adam, self.steps = AdamW(RATE, BETAS), 0
        self.moments = self.adam.init(self.ops, self.params)

    def loss(self, ops: Any, params: Any) -> Any:
        """The loss by the weights."""
        from opensora_core.checkpointed import checkpointed
        from opensora_core.module import rebuild
        from opensora_core.training.objective import training_loss

        denoiser = rebuild(self.template, {**self.constant, **params})
        denoiser = checkpointed(denoiser) if self.checkpointing else denoiser
        return training_loss(ops, denoiser, self.batch, height=SIDE, width=SIDE)

    def step(self) -> float:
        """Train on the batch, return the loss."""
        self.steps += 1
        loss, grads = self.ops.value_and_grad(self.loss, self.params)
        self.params, self.moments = self.adam.update(self.ops, self.params, grads, self.moments, self.steps)
        return float(loss)

    def held(self) -> Iterable[Any]:
        """Weights and moments."""
        return [*self.params.values(), *self.moments]


class Plain:
    """The step in plain PyTorch."""

    def __init__(self, size: Size, checkpointing: bool) -> None:
        import torch

        from .plain_stdit3 import PlainSTDiT3

        config = make_config(size)
        self.batch = {name: torch.from_numpy(a) for name, a in make_batch(size).items()}
        self.model = PlainSTDiT3(config, checkpointing)
        self.model.load_state_dict({name: torch.from_numpy(a) for name, a in make_weights(config).items()})
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE, betas=BETAS, weight_decay=0.0)

    def step(self) -> float:
        """Train on the batch, return the loss."""
        from .plain_stdit3 import training_step

        return training_step(self.model, self.optimizer, self.batch, SIDE)

    def held(self) -> Iterable[Any]:
        """Weights and moments."""
        return [*self.model.parameters(), *(a for state in self.optimizer.state.values() for a in state.values())]


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
    parser = argparse.ArgumentParser(description="Time a training step beside plain PyTorch.")
    parser.add_argument("--threads", type=int, default=1, help="of BLAS and Torch (default 1)")
    parser.add_argument("--repeat", type=int, default=15, help="turns of every variant (default 15)")
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"of {', '.join(SIZES)} (default: all)")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    options = parser.parse_args(arguments)
    sizes = options.sizes.split(",")
    if unknown := set(sizes) - set(SIZES):
        parser.error(f"--sizes: {', '.join(sorted(unknown))} is not one of {', '.join(SIZES)}")
    if min(options.threads, options.repeat) < 1:
        parser.error("--threads and --repeat must be at least 1")
    if ran_again("opensora_benchmarks.training_step", options.threads, arguments):
        return

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
        from opensora_core.serialization.atomic import atomic_file

        with atomic_file(options.json) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
