"""Golden sets of rectified flow (v1.3): guided trajectories from text, and from text and given frames."""

from __future__ import annotations

from collections.abc import Iterator

from ..conditioning.given_frames import Condition
from ..ops import Ops
from ..releases.sampling_flow import WindowedSTDiT3Sampler
from ..releases.task import Text
from .golden import GoldenSet, bring
from .load import load_denoiser
from .produced import Produced
from .recorded import Args, Inputs, RecordedTask, recorded_draws, run_sampler

SWITCHES = {
    "use_timestep_transform": "use_timestep_transform",
    "transform_scale": "transform_scale",
    "scale_temporal": "scale_temporal",
    "use_flaw_fix": "use_flaw_fix",
    "scale_image_weight": "scale_temporal_osci",
}
"""Official arguments of the scheduler and what they are called here."""


def rflow_sample_v13(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """Whole trajectories with everything that v1.3 switches on and off."""
    model = load_denoiser(golden, ops)
    for name, case in golden.cases.items():
        inputs, args = golden.inputs(name), case.args
        z, text = inputs["z"], Text(inputs["y"], inputs["text_mask"])
        replay = run_sampler(ops, _sampler(args), model, _task(args, inputs), text, _given(ops, args, inputs))
        yield Produced(name, "out/z", ops.to_numpy(replay.latents))
        yield Produced(name, "mid/z_traj", replay.first_rows("z", z.shape[0]))
        yield Produced(name, "mid/timesteps", replay.first_rows("time", z.shape[0]))


def _sampler(args: Args) -> WindowedSTDiT3Sampler:
    """What the official class leaves out unless told is left out."""
    settings = {"use_flaw_fix": False, **args["sch"]}
    swings = bool(settings.get("use_oscillation_guidance") or args.get("osci"))
    named = {SWITCHES[key]: value for key, value in settings.items() if key in SWITCHES}
    return WindowedSTDiT3Sampler(text_osci=swings, image_osci=swings, use_sdedit=bool(args.get("sdedit")), **named)


def _task(args: Args, inputs: Inputs) -> RecordedTask:
    z = inputs["z"]
    size = (args["nf"], args["height"], args["width"], args["fps"])
    scales = {"guidance_scale": args["sch"]["cfg_scale"], "image_guidance_scale": args.get("img", 1.0)}
    return RecordedTask(z.shape[1:], *size, args["n"], **scales, seed=0, z=z, draws=recorded_draws(inputs))


def _given(ops: Ops, args: Args, inputs: Inputs) -> Condition | None:
    """Given frames as the pipeline has them: their mask has one channel."""
    if "img" not in args:
        return None
    mask = bring(ops, inputs["z_cond_mask"][:, :1])
    return Condition(mask, bring(ops, inputs["z_cond"]) * mask, tuple(args["mask_index"]), "recorded")
