"""What step caching saves and costs on the embedded model, beside a sampler with as many steps fewer.

python -m opensora_benchmarks.step_caching [--threads 1] [--repeat 5] [--json FILE]

Errors are those of held-out prompts against the same seeds with all steps computed: relative L2 of the final latents,
PSNR of the videos, and how many of them show everything that was asked for. Times are of one prompt, all settings of a
backend taking turns. About two minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from .standing import clock_of, milliseconds, options_of, ratio, turns, write

PROMPTS = 16
EVERY = (2, 3, 4, 5)
BACKENDS = ("numpy", "torch")
ALL = "all steps"
Settings = Mapping[str, Mapping[str, Any]]


def settings_of(model: Any, prompt: str, every: Sequence[int] = EVERY, **options: Any) -> Settings:
    """Options by name: all steps; each interval; and for each of these a sampler of as many steps as it computes."""
    found: dict[str, dict[str, Any]] = {ALL: options}
    for interval in every:
        asked = {**options, "step_cache": interval}
        found[f"step_cache={interval}"] = asked
        steps = computed_steps(model.generate_from_text(prompt, seed=0, **asked))
        found[f"{steps} steps"] = {**options, "num_inference_steps": steps}
    return found


def computed_steps(video: Any) -> int:
    """How many steps of a video were computed."""
    told = video.metadata
    steps: int = told["num_inference_steps"] - told.get("approximated_steps", 0)
    return steps


def errors(model: Any, settings: Settings, prompts: int) -> dict[str, dict[str, Any]]:
    """What each of the settings computes, how far it is from the first one, and how often it shows what was asked."""
    from opensora_core.evaluation import held_out_cases
    from opensora_core.synthetic import FULL
    from opensora_core.synthetic.adherence import score

    cases = held_out_cases(FULL, prompts)
    made = {name: [_generate(model, case, options) for case in cases] for name, options in settings.items()}
    rows: dict[str, dict[str, Any]] = {}
    for name, generated in made.items():
        videos = [video for _, video in generated]
        row = {"computed_steps": computed_steps(videos[0])}
        if name != ALL:
            row |= _apart(generated, made[ALL])
        rows[name] = {**row, "all_right": score([video.frames for video in videos], [case.scene for case in cases]).all}
    return rows


def _generate(model: Any, case: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Final latents on the host, and the video."""
    *steps, video = model.stream(case.prompt, seed=case.seed, **options)
    return model.ops.to_numpy(steps[-1].latents), video


def _apart(generated: Sequence[tuple[Any, Any]], exact: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """Median and worst relative L2 of latents, and PSNR of videos in dB."""
    import numpy as np

    from opensora_core.accuracy import relative_l2

    pairs = list(zip(generated, exact, strict=True))
    latents = [relative_l2(z, truth) for (z, _), (truth, _) in pairs]
    psnr = [video.psnr(truth) for (_, video), (_, truth) in pairs]
    return {
        "latents_rel_l2": {"median": round(float(np.median(latents)), 5), "worst": round(max(latents), 5)},
        "psnr": {"median": round(float(np.median(psnr)), 2), "worst": round(min(psnr), 2)},
    }


def speed(model: Any, prompt: str, settings: Settings, repeat: int, threads: int) -> dict[str, Any]:
    """Milliseconds of a video by setting, and by how much each is faster than the first one."""
    calls = {name: partial(model.generate_from_text, prompt, seed=0, **options) for name, options in settings.items()}
    seconds = turns(calls, repeat, clock_of(threads))
    return {
        "milliseconds": milliseconds(seconds),
        "faster": {name: ratio(seconds, ALL, name) for name in settings if name != ALL},
    }


def measure(
    repeat: int,
    threads: int,
    backends: Sequence[str] = BACKENDS,
    *,
    prompts: int = PROMPTS,
    every: Sequence[int] = EVERY,
    **options: Any,
) -> dict[str, Any]:
    """Errors, by the last of the backends, and speed on each; options: of every generation."""
    from opensora_core import OpenSora
    from opensora_core.evaluation import held_out_cases
    from opensora_core.synthetic import FULL

    models = {name: OpenSora.from_pretrained(backend=name, device="cpu") for name in backends}
    prompt = held_out_cases(FULL, 1)[0].prompt
    settings = settings_of(models[backends[-1]], prompt, every, **options)
    return {
        "prompts": prompts,
        "errors": errors(models[backends[-1]], settings, prompts),
        "speed": {name: speed(model, prompt, settings, repeat, threads) for name, model in models.items()},
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """The table, a line for each setting."""
    backends = list(found["speed"])
    rows = [f"{'':14} computed  latents   psnr, worst      all right  " + "  ".join(f"{b:>6}" for b in backends)]
    for name, row in found["errors"].items():
        apart = "        -             -      "
        if name != ALL:
            psnr = row["psnr"]
            apart = f"{row['latents_rel_l2']['median']:9.4f} {psnr['median']:6.1f} dB {psnr['worst']:6.1f} dB"
        times = [f"{found['speed'][b]['faster'][name]['median']:5.2f}x" if name != ALL else " 1.00x" for b in backends]
        rows.append(f"{name:14} {row['computed_steps']:8} {apart} {row['all_right']:9.0%}  " + "  ".join(times))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write JSON if asked to."""
    about = "Measure what step caching saves and costs on the embedded model."
    options = options_of("opensora_benchmarks.step_caching", about, 5, arguments)
    if options is None:
        return
    found = measure(options.repeat, options.threads)
    print(f"{found['prompts']} held-out prompts, medians; errors against all steps computed")
    print("\n".join(lines(found)))
    write(options, "step_caching", BACKENDS, found)


if __name__ == "__main__":
    main()
