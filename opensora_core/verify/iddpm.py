"""Golden sets of Gaussian diffusion (v1.0, v1.1): its tables, guided trajectories of three samplers, and the losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..dit.captions import null_captions
from ..dit.stdit import STDiT
from ..dit.stdit2 import STDiT2, VideoSize
from ..ops import HALF, Array, Ops
from ..schedulers.ancestral import ancestral, guided_noise
from ..schedulers.ddim import ddim
from ..schedulers.diffusion import DiffusionTables
from ..schedulers.diffusion_loss import diffusion_input, diffusion_loss
from ..schedulers.dpm_solver import dpm_solver
from ..schedulers.stepping import Noise, Predict, Step
from .golden import GoldenCase, GoldenSet, bring
from .load import load_denoiser
from .produced import Produced

Inputs = Mapping[str, NDArray[Any]]
Network = Callable[[Array, Array, Array | None], Array]
"""network(x [B, C, T, H, W], timestep [B], x_mask [B, T] or None) -> [B, 2C, T, H, W]"""
Denoiser = STDiT | STDiT2
Seen = dict[str, list[NDArray[Any]]]


def iddpm_tables(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Tables of every spacing, made on the host in the dtype of the release."""
    for name, case in golden.cases.items():
        tables = DiffusionTables.spaced(case.args["respacing"], _official_dtype(golden))
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
    seen: Seen = {"z": [], "time": [], "x_mask": []}
    guided = case.args["cfg"] != 1.0
    predict = _predictor(ops, _network(ops, model, case, inputs, guided), seen)
    z, B = bring(ops, inputs["z"]), inputs["z"].shape[0]
    for step in _sample(golden, case, ops, predict, z, inputs):
        z = step.latents
    yield "out/z", ops.to_numpy(z)
    yield "mid/z_traj", np.stack(seen["z"])[:, :B]
    yield "mid/timesteps", np.stack(seen["time"])[:, :B]
    if seen["x_mask"]:
        yield "mid/x_mask", np.stack(seen["x_mask"])


def _sample(
    golden: GoldenSet, case: GoldenCase, ops: Ops, predict: Predict, z: Array, inputs: Inputs
) -> Iterator[Step]:
    args = case.args
    channels = z.shape[1] if args["algo"] == "dpms" else _guided_channels(golden, args, z.shape[1])
    if args["cfg"] != 1.0:
        predict = guided_noise(ops, predict, args["cfg"], channels)
    if args["algo"] == "dpms":
        return dpm_solver(ops, predict, z, args["steps"])
    tables = _tables(golden, ops, str(args["steps"]))
    drawn, mask = inputs["noise"][:, : z.shape[0]], inputs.get("mask")
    if args["algo"] == "ddim":
        return ddim(ops, predict, z, tables, args["eta"], _draws(ops, drawn))
    if mask is None:
        return ancestral(ops, predict, z, tables, _draws(ops, drawn))
    return ancestral(ops, predict, z, tables, _draws(ops, drawn[1::2]), mask, _draws(ops, drawn[::2]))


def _losses(
    golden: GoldenSet, case: GoldenCase, ops: Ops, model: Denoiser, inputs: Inputs
) -> Iterator[tuple[str, NDArray[Any]]]:
    tables, steps = _tables(golden, ops, ""), inputs["t"]
    x0, noise = bring(ops, inputs["x"]), bring(ops, inputs["noise"])
    mask = None if "mask" not in inputs else bring(ops, inputs["mask"])
    x_t = diffusion_input(ops, tables, x0, noise, steps, mask)
    output = _network(ops, model, case, inputs, guided=False)(x_t, bring(ops, steps), mask)
    losses = diffusion_loss(ops, tables, output, x_t, x0, noise, steps, mask)
    for name, value in losses._asdict().items():
        yield f"out/{name}", ops.to_numpy(value)


def _network(ops: Ops, model: Denoiser, case: GoldenCase, inputs: Inputs, guided: bool) -> Network:
    """The denoiser with the text of a case, encoded once; guided: with the empty caption in a second half of rows."""
    y = bring(ops, inputs["y"])
    if guided:
        y = ops.concat([y, null_captions(ops, model.y_embedder, y)], axis=0)
    text = model.encode_text(ops, y, bring(ops, inputs["text_mask"]))
    if isinstance(model, STDiT):
        return lambda x, timestep, x_mask: model.denoise(ops, x, timestep, text)
    size = VideoSize(*(float(case.args[name]) for name in ("height", "width", "num_frames", "fps")))
    return lambda x, timestep, x_mask: model.denoise(ops, x, timestep, text, size, x_mask)


def _predictor(ops: Ops, network: Network, seen: Seen) -> Predict:
    """A network as samplers see it; notes what goes in."""

    def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
        times = ops.full((z.shape[0],), timestep, z.dtype)
        seen["z"].append(ops.to_numpy(z))
        seen["time"].append(ops.to_numpy(times))
        if x_mask is not None:
            seen["x_mask"].append(ops.to_numpy(x_mask))
        return network(z, times, x_mask)

    return predict


def _draws(ops: Ops, recorded: NDArray[Any]) -> Noise:
    return lambda i: bring(ops, recorded[i])


def _guided_channels(golden: GoldenSet, args: Mapping[str, Any], channels: int) -> int:
    """v1.0 guides three channels always, v1.1 those it is told to."""
    return 3 if golden.version == "v1.0" else int(args.get("cfg_channel") or channels)


def _tables(golden: GoldenSet, ops: Ops, spacing: str) -> DiffusionTables:
    """The official tables; the recorded float64 runs have them in float64 throughout."""
    return DiffusionTables.spaced(spacing, "float64" if ops.dtype == "float64" else _official_dtype(golden))


def _official_dtype(golden: GoldenSet) -> Literal["float32", "float64"]:
    return "float64" if golden.version == "v1.0" else "float32"
