"""Golden sets of rectified flow (v1.3): guided trajectories from text, and from text and given frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dit.captions import null_captions
from ..dit.stdit3_windows import GivenFrames, WindowedSTDiT3
from ..ops import Array, Ops
from ..schedulers.conditioned_flow import Given, image_flow, resolution_ratio_v13, text_flow
from ..schedulers.guidance import frame_scales, oscillating
from ..schedulers.stepping import Predict, Step
from ..schedulers.timesteps import sampling_timesteps
from .golden import GoldenSet, bring
from .load import load_denoiser
from .produced import Produced

Args = Mapping[str, Any]
Inputs = Mapping[str, NDArray[Any]]


def rflow_sample_v13(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Whole trajectories with everything that v1.3 switches on and off."""
    model = load_denoiser(golden, ops)
    for name, case in golden.cases.items():
        inputs, args = golden.inputs(name), case.args
        seen: list[NDArray[Any]] = []
        times = _times(args)
        predict = _predictor(ops, model, args, inputs, seen)
        z = bring(ops, inputs["z"])
        B = z.shape[0]
        for step in _sample(ops, predict, z, times, args, inputs):
            z = step.latents
        yield Produced(name, "out/z", ops.to_numpy(z))
        yield Produced(name, "mid/z_traj", np.stack(seen)[:, :B])
        dtype = np.float64 if ops.dtype == "float64" else np.float32
        yield Produced(name, "mid/timesteps", np.tile(np.array(times, dtype)[:, None], (1, B)))


def _times(args: Args) -> list[float]:
    settings = args["sch"]
    scale, temporal = settings.get("transform_scale", 1.0), settings.get("scale_temporal", True)
    ratio = resolution_ratio_v13(args["height"], args["width"], args["nf"], scale=scale, scale_temporal=temporal)
    return sampling_timesteps(args["n"], ratio=ratio if settings["use_timestep_transform"] else None)


def _sample(ops: Ops, predict: Predict, z: Array, times: list[float], args: Args, inputs: Inputs) -> Iterator[Step]:
    settings, n = args["sch"], args["n"]
    text = settings["cfg_scale"]
    swings = settings.get("use_oscillation_guidance") or args.get("osci")
    texts = oscillating(text, n) if swings else [text] * n
    if "img" not in args:
        return text_flow(ops, predict, z, times, texts, restore=settings.get("use_flaw_fix", False))
    images = oscillating(args["img"], n) if swings else [args["img"]] * n
    weights = [[scale] * z.shape[2] for scale in images]
    if settings.get("scale_image_weight"):
        weights = frame_scales(images, n, z.shape[2], settings["initial_image_scale"])
    given = None
    if args["sdedit"]:
        mask, noise = bring(ops, inputs["z_cond_mask"]), inputs["noise"]
        given = Given(bring(ops, inputs["z_cond"]), mask, lambda i: bring(ops, noise[i]))
    return image_flow(ops, predict, z, times, texts, weights, given)


def _predictor(ops: Ops, model: WindowedSTDiT3, args: Args, inputs: Inputs, seen: list[NDArray[Any]]) -> Predict:
    """The model with the prompt, the empty caption and, if given, the frames in as many rows as guidance asks for."""
    y, mask = bring(ops, inputs["y"]), bring(ops, inputs["text_mask"])
    null = null_captions(ops, model.y_embedder, y)
    copies = 3 if "img" in args else 2
    text = model.encode_text(ops, ops.concat([y] + [null] * (copies - 1), axis=0), mask)
    given = None
    if "img" in args:
        where = bring(ops, inputs["z_cond_mask"])
        latents = bring(ops, inputs["z_cond"]) * where
        rows = ops.concat([latents, latents, latents * 0.0], axis=0)
        empty = model.encode_text(ops, ops.concat([null] * copies, axis=0), mask)
        given = GivenFrames(tuple(args["mask_index"]), rows, ops.concat([where] * copies, axis=0), empty)
    fps = bring(ops, np.array([args["fps"]], np.float32))

    def predict(z: Array, timestep: float, x_mask: Array | None) -> Array:
        seen.append(ops.to_numpy(z))
        times = ops.full((z.shape[0],), timestep, z.dtype)
        return model.denoise(ops, z, times, text, None, fps, args["height"], args["width"], given)

    return predict
