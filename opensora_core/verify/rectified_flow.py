"""Golden sets of rectified flow (v1.2): timestep tables, whole guided trajectories, and the training loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops import Ops
from ..releases.sampling_flow import STDiT3Sampler
from ..releases.task import Text
from ..schedulers.rectified_flow import add_noise, flow_loss
from ..schedulers.timesteps import resolution_ratio, shift_timesteps
from .golden import GoldenSet, bring
from .load import load_denoiser
from .produced import Produced
from .recorded import Inputs, RecordedTask, recorded_draws, recorded_mask, run_sampler

FPS = 24.0  # of the recorded trajectories


def rflow_timesteps(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Sampling tables, and the shift of given training times. Both are made on the host, in float64."""
    for name, case in golden.cases.items():
        if "t" in case.outputs:
            yield Produced(name, "out/t", _in_dtype(ops, _shifted(golden.inputs(name), case.args["scale"])))
            continue
        args = case.args
        options = {option: args[option] for option in ("use_timestep_transform", "use_discrete_timesteps")}
        size = (args["height"], args["width"], args["num_frames"])
        times = STDiT3Sampler(**options).times(args["num_sampling_steps"], *size)
        yield Produced(name, "out/timesteps", _in_dtype(ops, times))


def rflow_sample(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Guided trajectories: what the model was given at every step, its first and last answer, and the end."""
    model = load_denoiser(golden, ops)
    for name, case in golden.cases.items():
        inputs, args = golden.inputs(name), case.args
        z, text = inputs["z"], Text(inputs["y"], inputs["text_mask"])
        size = (args["nf"], args["hw"][0], args["hw"][1], FPS)
        draws = recorded_draws(inputs)
        task = RecordedTask(z.shape[1:], *size, args["n"], args["cfg"], seed=0, z=z, draws=draws)
        given = recorded_mask(inputs)
        replay = run_sampler(ops, STDiT3Sampler(use_timestep_transform=args["tr"]), model, task, text, given)
        yield Produced(name, "out/z", ops.to_numpy(replay.latents))
        yield Produced(name, "mid/timesteps", replay.first_rows("time", z.shape[0]))
        yield Produced(name, "mid/z_traj", replay.first_rows("z", z.shape[0]))
        yield Produced(name, "mid/pred0", replay.seen["output"][0])
        yield Produced(name, "mid/pred_last", replay.seen["output"][-1])
        if given is not None:
            yield Produced(name, "mid/x_mask", np.stack(replay.seen["x_mask"]))


def rflow_train(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """One training step up to its loss, with and without given frames; the weights are those of `rflow_sample`."""
    model = load_denoiser(golden, ops, donor="rflow_sample")
    for name, case in golden.cases.items():
        args = case.args
        given = {key: bring(ops, x) for key, x in golden.inputs(name).items()}
        x0, noise, t, mask = given["x"], given["noise"], given["t"], given.get("mask")
        noised = add_noise(ops, x0, noise, t)
        x_t = noised if mask is None else ops.where(ops.reshape(mask, (mask.shape[0], 1, -1, 1, 1)), noised, x0)
        fps = bring(ops, np.array([args["fps"]], np.float32))
        out = model(ops, x_t, t, given["y"], given["text_mask"], mask, fps, args["height"], args["width"])
        loss = flow_loss(ops, out[:, : x0.shape[1]], x0, noise, mask)
        for key, value in {"add_noise": noised, "x_t": x_t, "model_out": out, "loss": loss}.items():
            yield Produced(name, f"out/{key}", ops.to_numpy(value))


def _shifted(inputs: Inputs, scale: float) -> list[float]:
    columns = (inputs[name].tolist() for name in ("t", "height", "width", "num_frames"))
    return [shift_timesteps(t, resolution_ratio(h, w, int(f), scale)) for t, h, w, f in zip(*columns, strict=True)]


def _in_dtype(ops: Ops, times: list[float]) -> NDArray[Any]:
    """Host times as the model is given them: in float64 only if the backend runs in it."""
    return np.array(times, np.float64 if ops.dtype == "float64" else np.float32)
