"""evaluate: how well a model does what held-out prompts, images and clips ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from .model_options import ModelOptions
from .options import Option
from .saving import check_picture, save_picture
from .screen import Screen, columns
from .threads import limit_threads

if TYPE_CHECKING:
    from ..synthetic.adherence import Adherence


@dataclass(frozen=True)
class CaseOptions:
    """Which questions."""

    n: Annotated[int, Option("--n", "-n", min=1, help="How many held-out scenes; sample i has seed i.")] = 200
    world: Annotated[
        Literal["easy", "full", "swing"],
        Option(help="Scenes of the easy or the full synthetic world, or of the motion that docs/fine-tuning.md adds."),
    ] = "full"
    task: Annotated[
        Literal["text", "image", "extend"],
        Option(help="Generate from prompts, animate first frames, or extend halves of real clips."),
    ] = "text"
    wording: Annotated[
        Literal["mixed", "canonical", "free"], Option(help="Of the prompts: plain, free, or every other.")
    ] = "mixed"
    seed: Annotated[int, Option(min=0, help="Chooses the scenes and their real clips.")] = 0
    num_frames: Annotated[
        int | None, Option(min=1, help="Instead of the model's own; 1 judges images, which have no motion.")
    ] = None


def evaluate(
    screen: Screen,
    cases: CaseOptions,
    model: ModelOptions,
    steps: Annotated[int | None, Option(help="Denoising steps; without it, the model's own.")] = None,
    guidance_scale: Annotated[float | None, Option(help="Without it, the model's own.")] = None,
    contact_sheet: Annotated[Path | None, Option(help="Also show the first 20 videos in one picture.")] = None,
) -> None:
    """Measure how often videos show what held-out prompts ask, beside an upper and a lower bound.

    Example: opensora evaluate --n 200 --world easy --contact-sheet sheet.png
    """
    limit_threads(model.model)
    from ..evaluation import ClipShape, evaluate_extension, evaluate_image, evaluate_text, held_out_cases
    from ..evaluation.sheet import contact_sheet as draw
    from ..training.stages import WORLDS

    if contact_sheet is not None:
        check_picture(contact_sheet)
    loaded = model.load(screen)
    world, shape = WORLDS[cases.world], ClipShape.of(loaded.config, cases.num_frames)
    asked = held_out_cases(world, cases.n, seed=cases.seed, wording=cases.wording, still_images=shape.is_image)
    run = {"text": evaluate_text, "image": evaluate_image, "extend": evaluate_extension}[cases.task]
    sampling = {"num_inference_steps": steps, "guidance_scale": guidance_scale}
    with screen.progress("evaluating", report=True) as advance:
        report: Any = run(
            loaded, world, asked, shape, seed=cases.seed, tell=lambda done: advance(done, cases.n), **sampling
        )
    if contact_sheet is not None:
        save_picture(draw(report.videos, asked), contact_sheet)
    document = {
        "model": None if model.model is None else str(model.model),
        "task": cases.task,
        "world": cases.world,
        "wording": cases.wording,
        "n": cases.n,
        "seed": cases.seed,
        "shape": shape.to_dict(),
        "num_inference_steps": steps or loaded.config.num_inference_steps,
        "guidance_scale": loaded.config.guidance_scale if guidance_scale is None else guidance_scale,
        "backend": loaded.ops.name,
        "device": loaded.ops.device,
        "dtype": loaded.ops.dtype,
        **report.to_dict(),
        "contact_sheet": None if contact_sheet is None else str(contact_sheet),
    }
    heading = f"{cases.task}, {cases.n} held-out scenes of the {cases.world} world, {cases.wording} wording"
    screen.result(document, heading, *_table(report), *_lines(cases.task, report))


def _table(report: Any) -> list[Any]:
    from ..synthetic.adherence import ATTRIBUTES

    bounds = {"generated": report.generated, "real renders": report.real}
    if hasattr(report, "mismatched"):
        bounds["other prompts"] = report.mismatched
    names = (*ATTRIBUTES, "all")
    return columns([("share right", *names), *((title, *_shares(a, names)) for title, a in bounds.items())])


def _shares(adherence: Adherence, names: tuple[str, ...]) -> list[str]:
    return [f"{100 * getattr(adherence, name):.1f} %" for name in names]


def _lines(task: str, report: Any) -> list[str]:
    lines = []
    if task == "image":
        lines.append(
            f"given frame kept at {report.kept_psnr:.1f} dB (worst {report.kept_psnr_worst:.1f}) of what the "
            f"autoencoder makes of it, {report.given_psnr:.1f} dB of itself; 100 dB is identical"
        )
    if task == "extend":
        unchanged = "unchanged" if report.unchanged else "CHANGED"
        lines.append(
            f"seam difference {report.seam_ratio:.2f}x the ordinary one (90 % below {report.seam_ratio_p90:.2f}x, real "
            f"clips {report.real_seam_ratio:.2f}x); the {report.given_frames} given frames are {unchanged}"
        )
    return [*lines, f"{report.seconds_per_video:.2f} s per video"]
