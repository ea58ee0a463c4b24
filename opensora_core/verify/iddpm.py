"""Golden sets of Gaussian diffusion (v1.0, v1.1): its tables, guided trajectories of three samplers, and the losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dit.stdit import STDiT
from ..dit.stdit2 import STDiT2, VideoSize
from ..ops import HALF, Array, Ops
from ..releases.sampling_diffusion import DiffusionSampler, STDiT2Sampler, STDiTSampler, diffusion_tables
from ..releases.task import Text
from ..schedulers.diffusion import DiffusionTables
from ..schedulers.diffusion_loss import diffusion_input, diffusion_loss
from .golden import GoldenCase, GoldenSet, bring
from .load import load_denoiser
from .produced import Produced
from .recorded import Inputs, RecordedTask, recorded_mask, run_sampler

Denoiser = STDiT | STDiT2
SAMPLERS: dict[str, type[DiffusionSampler]] = {"v1.0": STDiTSampler, "v1.1": STDiT2Sampler}
NAMES = {"p_sample": "iddpm", "ddim": "ddim", "dpms": "dpm-solver++"}


def iddpm_tables(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Tables of every spacing, made on the host in the dtype of the release."""
    for name, case in golden.cases.items():
        tables = DiffusionTables.spaced(case.args["respacing"], SAMPLERS[golden.version].TABLES)
        for output in case.outputs:
            yield Produced(name, f"out/{output}", getattr(tables, output))


def iddpm_sample(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Trajectories of three samplers, and training losses, with the denoiser of the release."""
    model: Denoiser = load_denoiser(golden, ops)
    for name, case in golden.cases.items():
        if ops.dtype in HALF and 0 in case.args.get("t", ()):
            continue  # the bound at step 0 magnifies rounding a hundredfold: in half precision it says nothing
        inputs = golden.inputs(name)
        produced = _trajectory if "algo" in case.args else _losses
        for tensor, value in produced(golden, case, ops, model, inputs):
            yield Produced(name, tensor, value)


def _trajectory(
    golden: GoldenSet, case: GoldenCase, ops: Ops, model: Denoiser, inputs: Inputs
) -> Iterator[tuple[str, NDArray[Any]]]:
    given = recorded_mask(inputs)
    text, B = Text(inputs["y"], inputs["text_mask"]), inputs["z"].shape[0]
    replay = run_sampler(ops, _sampler(golden, case, inputs["z"].shape[1]), model, _task(case, inputs), text, given)
    yield "out/z", ops.to_numpy(replay.latents)
    yield "mid/z_traj", replay.first_rows("z", B)
    yield "mid/timesteps", replay.first_rows("time", B)
    if given is not None:
        yield "mid/x_mask", np.stack(replay.seen["x_mask"])


def _sampler(golden: GoldenSet, case: GoldenCase, channels: int) -> DiffusionSampler:
    """v1.0 guides three of the channels always, v1.1 all unless told; DPM-Solver++ is not told."""
    args, name = case.args, NAMES[case.args["algo"]]
    guided = 3 if golden.version == "v1.0" else args.get("cfg_channel", channels)
    return SAMPLERS[golden.version](name, args.get("eta", 0.0), None if name == "dpm-solver++" else guided)


def _task(case: GoldenCase, inputs: Inputs) -> RecordedTask:
    """Officially both halves of a guided batch get noise; that of the first counts. With a mask, two draws a step."""
    args, z = case.args, inputs["z"]
    drawn = inputs["noise"][:, : z.shape[0]] if "noise" in inputs else z[None]
    draws = {"frames": drawn[::2], "step": drawn[1::2]} if "mask" in inputs else {"step": drawn}
    size = (args["num_frames"], args["height"], args["width"], args["fps"])
    return RecordedTask(z.shape[1:], *size, args["steps"], args["cfg"], seed=0, z=z, draws=draws)


def _losses(
    golden: GoldenSet, case: GoldenCase, ops: Ops, model: Denoiser, inputs: Inputs
) -> Iterator[tuple[str, NDArray[Any]]]:
    tables, steps = diffusion_tables(ops, "", SAMPLERS[golden.version].TABLES), inputs["t"]
    x0, noise = bring(ops, inputs["x"]), bring(ops, inputs["noise"])
    mask = None if "mask" not in inputs else bring(ops, inputs["mask"])
    x_t = diffusion_input(ops, tables, x0, noise, steps, mask)
    output = _predicted(ops, model, case, inputs, x_t, mask)
    losses = diffusion_loss(ops, tables, output, x_t, x0, noise, steps, mask)
    for name, value in losses._asdict().items():
        yield f"out/{name}", ops.to_numpy(value)


def _predicted(ops: Ops, model: Denoiser, case: GoldenCase, inputs: Inputs, x_t: Array, mask: Array | None) -> Array:
    text = model.encode_text(ops, bring(ops, inputs["y"]), bring(ops, inputs["text_mask"]))
    timesteps = bring(ops, inputs["t"])
    if isinstance(model, STDiT):
        return model.denoise(ops, x_t, timesteps, text)
    size = VideoSize(*(float(case.args[name]) for name in ("height", "width", "num_frames", "fps")))
    return model.denoise(ops, x_t, timesteps, text, size, mask)
