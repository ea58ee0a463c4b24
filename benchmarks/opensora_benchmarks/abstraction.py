"""STDiT3 through this library beside the same model written by hand, with the same weights.

python -m opensora_benchmarks.abstraction [--threads 1] [--repeat 15] [--json FILE]

forward: one prediction on Torch beside plain PyTorch, text included. guided: 10 steps with classifier-free guidance;
plain PyTorch calls its model with the text at every step, as the official code does, this library projects it once.
share_of_products: what both sides have to do alike, of the time of our ops, by Torch's profiler.
block: a spatial and a temporal block on NumPy beside plain NumPy. Above 1, ours is faster.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .plain_block import block as plain_block
from .standing import clock_of, milliseconds, options_of, ratio, turns, write
from .training_variants import CAPTION, SIDE, SIZES, WORDS, Size, make_batch, make_config, make_weights

CASES = {
    "embedded": (SIZES["embedded"], WORDS),
    "wide": (SIZES["wide"], WORDS),
    "wide with the text of v1.2": (SIZES["wide"], 300),  # tokens of text
}
STEPS, SCALE = 10, 7.0
PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm")
AGREEMENT = 1e-5  # relative distance of results that float32 may leave in one prediction
Calls = dict[str, Callable[[], Any]]


def torch_calls(size: Size, words: int) -> dict[str, Calls]:
    """By question: ours and plain, on Torch."""
    import torch

    from opensora_core import get_backend
    from opensora_core.dit.stdit3 import STDiT3
    from opensora_core.module import rebuild
    from opensora_core.nn.init import ShapeInit
    from opensora_core.schedulers.rectified_flow import euler, guided

    from .plain_stdit3 import PlainSTDiT3

    config = dataclasses.replace(make_config(size), model_max_length=words)
    weights = make_weights(config)
    batch = {name: torch.from_numpy(a) for name, a in make_batch(size).items()}
    ops, plain = get_backend("torch", device="cpu"), PlainSTDiT3(config)
    plain.load_state_dict({name: torch.from_numpy(a) for name, a in weights.items()})
    ours = rebuild(STDiT3.create(config, ShapeInit()), {name: ops.asarray(a) for name, a in weights.items()})
    z, t, fps = (batch[name] for name in ("noise", "t", "fps"))
    text, mask = torch.randn(len(z), words, CAPTION), torch.arange(words).expand(len(z), -1) < words // 2
    null = ours.y_embedder.y_embedding.expand_as(text)
    both, masks, rates = torch.cat([text, null]), torch.cat([mask, mask]), torch.cat([fps, fps])
    times = [1000.0 * (1 - i / STEPS) for i in range(STEPS)]

    def our_steps() -> Any:
        context = ours.encode_text(ops, both, masks)

        def predict(z: Any, timestep: float, _: Any) -> Any:
            rows = ops.full((len(z),), timestep)
            return ours.denoise(ops, z, rows, context, fps=rates, height=SIDE, width=SIDE)

        *_, last = euler(ops, guided(ops, predict, SCALE, config.in_channels), z, times)
        return last.latents

    def plain_steps() -> Any:
        x = z
        for timestep in times:
            rows = torch.full((2 * len(x),), timestep)
            conditional, free = plain(torch.cat([x, x]), rows, both, masks, rates, SIDE, SIDE).chunk(2)
            x = x + (free + SCALE * (conditional - free)) / STEPS
        return x

    return {
        "forward": {
            "ours": lambda: ours(ops, z, t, text, mask, fps=fps, height=SIDE, width=SIDE),
            "plain": lambda: plain(z, t, text, mask, fps, SIDE, SIDE),
        },
        "guided": {"ours": our_steps, "plain": plain_steps},
    }


def numpy_calls(size: Size, words: int, temporal: bool) -> Calls:
    """Ours and plain: one block on NumPy."""
    import numpy as np

    from opensora_core import get_backend
    from opensora_core.dit.blocks import STDiT3Block
    from opensora_core.module import rebuild
    from opensora_core.nn.attention import KeysValues, Rope
    from opensora_core.nn.embeddings import rope_frequencies, rope_tables
    from opensora_core.nn.init import ShapeInit

    config, ops, rng = make_config(size), get_backend("numpy"), np.random.default_rng(0)
    name = ("temporal" if temporal else "spatial") + "_blocks.0."
    weights = {key[len(name) :]: a for key, a in make_weights(config).items() if key.startswith(name)}
    block = rebuild(STDiT3Block.create(ShapeInit(), config, temporal=temporal), weights)
    B, T, S, L, C, H, D = 2, 5, 16, words, config.hidden_size, config.num_heads, config.head_dim
    x, modulation = rng.standard_normal((B, T, S, C), np.float32), rng.standard_normal((B, 1, 6, C), np.float32)
    keys, values = rng.standard_normal((2, B, H, L, D), np.float32)
    mask = np.arange(L) < np.array([20, 9]).reshape(B, 1, 1, 1)
    cos, sin = rope_tables(ops, rope_frequencies(D).astype("f4"), T)
    return {
        "ours": lambda: block(ops, x, modulation, KeysValues(keys, values), mask, Rope(cos, sin)),
        "plain": lambda: plain_block(weights, x, modulation, keys, values, mask, (cos, sin) if temporal else None),
    }


def compare(calls: Mapping[str, Callable[[], Any]], agreement: float, repeat: int, threads: int) -> dict[str, Any]:
    """Milliseconds of both and by how much ours is faster; results that are apart end the run."""
    from opensora_core.accuracy import relative_l2

    apart = relative_l2(calls["ours"](), calls["plain"]())
    if not apart < agreement:
        raise SystemExit(f"the results are {apart:.1e} apart, nothing to time")
    seconds = turns(calls, repeat, clock_of(threads))
    return {"apart": apart, "milliseconds": milliseconds(seconds), "faster": ratio(seconds, "plain", "ours")}


def share_of_products(call: Callable[[], Any]) -> float:
    """Of the time that Torch's ops take in a call, what its matrix products take."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        call()
    seconds = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    return round(sum(seconds.get(name, 0.0) for name in PRODUCTS) / sum(seconds.values()), 3)


def measure(name: str, size: Size, words: int, repeat: int, threads: int) -> dict[str, Any]:
    """All questions for one size."""
    import torch

    torch_by, timed = torch_calls(size, words), functools.partial(compare, repeat=repeat, threads=threads)
    with torch.no_grad():
        found = {
            f"torch forward, {name}": timed(torch_by["forward"], AGREEMENT),
            f"torch guided, {name}": timed(torch_by["guided"], 10 * SCALE * AGREEMENT),  # it magnifies differences
        }
        found[f"torch guided, {name}"]["share_of_products"] = share_of_products(torch_by["guided"]["ours"])
    for temporal in (False, True):
        what = f"numpy {'temporal' if temporal else 'spatial'} block, {name}"
        found[what] = timed(numpy_calls(size, words, temporal), AGREEMENT)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    about = "Time the model beside the same one written by hand."
    options = options_of("opensora_benchmarks.abstraction", about, 15, arguments)
    if options is None:
        return
    rows: dict[str, Any] = {}
    for name, (size, words) in CASES.items():
        rows |= measure(name, size._replace(batch_size=1), words, options.repeat, options.threads)
    for what, row in rows.items():
        both = f"{row['milliseconds']['ours']:8.2f} ms, by hand {row['milliseconds']['plain']:8.2f} ms"
        print(f"{what:47} {both}   {row['faster']['median']:.3f}x {row['faster']['quartiles']}")
    write(options, "abstraction", ["numpy", "torch"], {"rows": rows})


if __name__ == "__main__":
    main()
