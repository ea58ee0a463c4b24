"""Golden sets of rectified flow (v1.2): timestep tables, whole guided trajectories, and the training loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dit.captions import null_captions
from ..dit.embedders import IMAGE_FPS
from ..dit.stdit3 import STDiT3
from ..ops import Array, Ops
from ..schedulers.rectified_flow import Velocity, add_noise, euler, flow_loss, guided
from ..schedulers.timesteps import resolution_ratio, sampling_timesteps, shift_timesteps
from .golden import GoldenSet, bring
from .load import load_denoiser
from .produced import Produced

FPS = 24.0  # of the recorded trajectories
Sizes = Mapping[str, NDArray[Any]]


def rflow_timesteps(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Sampling tables, and the shift of given training times. Both are made on the host, in float64."""
    for name, case in golden.cases.items():
        if "t" in case.outputs:
            yield Produced(name, "out/t", _in_dtype(ops, _shifted(golden.inputs(name), case.args["scale"])))
            continue
        args = case.args
        ratio = resolution_ratio(args["height"], args["width"], args["num_frames"])
        times = sampling_timesteps(
            args["num_sampling_steps"],
            ratio=ratio if args["use_timestep_transform"] else None,
            discrete=args["use_discrete_timesteps"],
        )
        yield Produced(name, "out/timesteps", _in_dtype(ops, times))


def rflow_sample(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Guided trajectories: what the model was given at every step, its first and last answer, and the end."""
    model = load_denoiser(golden, ops)
    for name, case in golden.cases.items():
        inputs, args = golden.inputs(name), case.args
        height, width = args["hw"]
        ratio = resolution_ratio(height, width, args["nf"]) if args["tr"] else None
        times = sampling_timesteps(args["n"], ratio=ratio)
        seen: dict[str, list[NDArray[Any]]] = {"z": [], "x_mask": [], "output": []}
        predict = _predictor(ops, model, inputs, IMAGE_FPS if args["nf"] == 1 else FPS, height, width, seen)
        velocity = guided(ops, predict, args["cfg"], model.config.in_channels)
        noise = inputs.get("noise")
        z = bring(ops, inputs["z"])
        draw = None if noise is None else lambda i, noise=noise: bring(ops, noise[i])
        for step in euler(ops, velocity, z, times, inputs.get("mask"), draw):
            z = step.latents
        B = z.shape[0]
        yield Produced(name, "out/z", ops.to_numpy(z))
        yield Produced(name, "mid/timesteps", np.tile(_in_dtype(ops, times)[:, None], (1, B)))
        yield Produced(name, "mid/z_traj", np.stack(seen["z"])[:, :B])  # the conditional half
        yield Produced(name, "mid/pred0", seen["output"][0])
        yield Produced(name, "mid/pred_last", seen["output"][-1])
        if seen["x_mask"]:
            yield Produced(name, "mid/x_mask", np.stack(seen["x_mask"]))


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


def _predictor(
    ops: Ops,
    model: STDiT3,
    inputs: Sizes,
    fps: float,
    height: float,
    width: float,
    seen: dict[str, list[NDArray[Any]]],
) -> Velocity:
    """The guided model as sampling uses it: the text, prompt and null, is encoded once; notes what goes in and out."""
    y = bring(ops, inputs["y"])
    text = ops.concat([y, null_captions(ops, model.y_embedder, y)], axis=0)
    context = model.encode_text(ops, text, bring(ops, inputs["text_mask"]))
    rate = bring(ops, np.array([fps], np.float32))

    def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
        times = ops.full((z.shape[0],), timestep, z.dtype)
        output = model.denoise(ops, z, times, context, x_mask, rate, height, width)
        seen["z"].append(ops.to_numpy(z))
        seen["output"].append(ops.to_numpy(output))
        if x_mask is not None:
            seen["x_mask"].append(ops.to_numpy(x_mask))
        return output

    return predict


def _shifted(inputs: Sizes, scale: float) -> list[float]:
    columns = (inputs[name].tolist() for name in ("t", "height", "width", "num_frames"))
    return [shift_timesteps(t, resolution_ratio(h, w, int(f), scale)) for t, h, w, f in zip(*columns, strict=True)]


def _in_dtype(ops: Ops, times: list[float]) -> NDArray[Any]:
    """Host times as the model is given them: in float64 only if the backend runs in it."""
    return np.array(times, np.float64 if ops.dtype == "float64" else np.float32)
