"""Golden sets of v2.0: the schedule, and whole trajectories with text and image guidance, or distilled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conditioning.given_frames import condition
from ..dit.mmdit import MMDiT
from ..dit.mmdit_layers import grid_positions, pack
from ..ops import Array, Ops
from ..schedulers.flow_v2 import distilled_flow, image_text_flow, shift_v2, times_v2
from ..schedulers.guidance import frame_scales, oscillating
from ..schedulers.stepping import Predict, Step
from .golden import GoldenSet, bring
from .load import load_denoiser
from .produced import Produced

GUIDANCE = 7.5  # of the recorded schedules
Args = Mapping[str, Any]
Inputs = Mapping[str, NDArray[Any]]


def v2_schedule(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Times and oscillating guidance, made on the host."""
    for name, case in golden.cases.items():
        args = case.args
        shift = args["shift_alpha"] or shift_v2(args["seq_len"], args["num_frames"])
        times = times_v2(args["num_steps"], shift if args["shift"] else None)
        yield Produced(name, "out/timesteps", np.array(times))
        yield Produced(name, "out/osci", np.array(oscillating(GUIDANCE, args["num_steps"]), np.float32))


def v2_sample(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """What the model was given at every step, and the end, in packed latents."""
    model = load_denoiser(golden, ops)
    for name, case in golden.cases.items():
        inputs, args = golden.inputs(name), case.args
        T, H, W = args["thw"]
        grid = (T, H // 2, W // 2)
        times = times_v2(args["n"], shift_v2(grid[1] * grid[2], T))
        seen: list[NDArray[Any]] = []
        predict = _predictor(ops, model, args["cond"], inputs, grid, seen)
        x = pack(ops, bring(ops, inputs["z"]))
        for step in _sample(ops, predict, x, times, args, grid):
            x = step.latents
        yield Produced(name, "out/x", ops.to_numpy(x))
        yield Produced(name, "mid/x_traj", np.stack(seen)[:, : x.shape[0]])
        dtype = np.float64 if ops.dtype == "float64" else np.float32
        yield Produced(name, "mid/timesteps", np.array(times[:-1], dtype)[:, None])
        yield Produced(name, "mid/img_ids", grid_positions(grid)[None].astype(dtype))


def _sample(
    ops: Ops, predict: Predict, x: Array, times: list[float], args: Args, grid: tuple[int, int, int]
) -> Iterator[Step]:
    if args["cond"] == "distill":
        return distilled_flow(ops, predict, x, times)
    n, T = args["n"], grid[0]
    texts = oscillating(args["g"], n) if args["to"] else [args["g"]] * n
    images = oscillating(args["gi"], n) if args["io"] else [args["gi"]] * n
    scales = [[scale] * T for scale in images]
    if args["so"] and args["cond"].startswith("i2v"):
        scales = frame_scales(images, n + 1, T)
    tokens = [np.repeat(np.array(row), grid[1] * grid[2])[None, :, None] for row in scales]  # (1, T·H·W, 1)
    return image_text_flow(ops, predict, x, times, texts, [ops.asarray(row, x.dtype) for row in tokens])


def _predictor(
    ops: Ops, model: MMDiT, kind: str, inputs: Inputs, grid: tuple[int, int, int], seen: list[NDArray[Any]]
) -> Predict:
    """The model with its text, and given frames in all rows but the last of three."""
    txt, vec = bring(ops, inputs["txt"]), bring(ops, inputs["y_vec"])
    if kind != "distill":
        references = [bring(ops, inputs[name]) for name in ("ref0", "ref1") if name in inputs]
        cond = pack(ops, condition(ops, kind, [references], inputs["z"].shape).channels(ops))
        cond = ops.concat([cond, cond, cond * 0.0], axis=0)
    else:
        cond = ops.full((1, grid[0] * grid[1] * grid[2], model.config.cond_channels), 0.0, txt.dtype)

    def predict(x: Array, time: float, x_mask: Array | None) -> Array:
        seen.append(ops.to_numpy(x))
        return model(ops, x, ops.full((x.shape[0],), time, x.dtype), txt, vec, cond, grid)

    return predict
