"""Golden sets of v2.0: the schedule, and whole trajectories with text and image guidance, or distilled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..conditioning.given_frames import Condition, condition
from ..dit.mmdit_layers import grid_positions, pack
from ..ops import Ops
from ..releases.sampling_v2 import MMDiTSampler
from ..releases.task import Text
from ..schedulers.flow_v2 import shift_v2, times_v2
from ..schedulers.guidance import oscillating
from .golden import GoldenSet, bring
from .load import load_denoiser
from .produced import Produced
from .recorded import Args, Inputs, RecordedTask, run_sampler

GUIDANCE = 7.5  # of the recorded schedules
PIXELS, FRAMES = 8, 4  # of a latent


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
        given = _given(ops, args, inputs)
        replay = run_sampler(ops, _sampler(args), model, _task(args, inputs), _text(inputs), given)
        T, H, W = args["thw"]
        yield Produced(name, "out/x", ops.to_numpy(pack(ops, replay.latents)))
        yield Produced(name, "mid/x_traj", replay.first_rows("z", 1))
        yield Produced(name, "mid/timesteps", replay.first_rows("time", 1))
        dtype = np.float64 if ops.dtype == "float64" else np.float32
        yield Produced(name, "mid/img_ids", grid_positions((T, H // 2, W // 2))[None].astype(dtype))


def _sampler(args: Args) -> MMDiTSampler:
    if args["cond"] == "distill":
        return MMDiTSampler("distilled")
    return MMDiTSampler(text_osci=args["to"], image_osci=args["io"], scale_temporal_osci=args["so"])


def _task(args: Args, inputs: Inputs) -> RecordedTask:
    z = inputs["z"]
    T, H, W = args["thw"]
    size = ((T - 1) * FRAMES + 1, H * PIXELS, W * PIXELS, 24.0)
    return RecordedTask(z.shape[1:], *size, args["n"], args["g"], seed=0, image_guidance_scale=args.get("gi", 1.0), z=z)


def _text(inputs: Inputs) -> Text:
    """The row of the prompt, and two rows for the negative one: recorded runs have a random one for each."""
    txt, vec = inputs["txt"], inputs["y_vec"]
    mask = np.ones(txt.shape[:2], bool)
    if len(txt) == 1:
        return Text(txt, mask, pooled=vec)
    return Text(txt[:1], mask[:1], (txt[1:], mask[1:]), vec[:1], vec[1:])


def _given(ops: Ops, args: Args, inputs: Inputs) -> Condition | None:
    references = [bring(ops, inputs[name]) for name in ("ref0", "ref1") if name in inputs]
    return condition(ops, args["cond"], [references], inputs["z"].shape) if references else None
