"""parity: two backends in lockstep through a real generation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from .model_options import Dtype, find_backend
from .options import Argument, Option, SamplingOptions, SizeOptions
from .saving import check_picture
from .screen import Screen, columns
from .threads import limit_threads

if TYPE_CHECKING:
    from ..parity.report import Side


@dataclass(frozen=True)
class Sampling(SamplingOptions):
    """How to sample; a comparison is the same every time."""

    seed: Annotated[int, Option(min=0, help="Of the noise.", rich_help_panel="Sampling")] = 0


def parity(
    screen: Screen,
    reference: Annotated[str, Argument(metavar="REFERENCE", help="Backend that is trusted, such as numpy.")],
    candidate: Annotated[str, Argument(metavar="CANDIDATE", help="Backend to compare: a name, or 'module:Class'.")],
    size: SizeOptions,
    sampling: Sampling,
    prompt: Annotated[
        str | None, Option("--prompt", "-p", help="By default one that the embedded model knows.")
    ] = None,
    image: Annotated[Path | None, Option(help="Generate from this first frame.")] = None,
    dtype: Dtype = None,
    device: Annotated[
        str | None,
        Option(envvar="OPENSORA_DEVICE", help="Of the candidate: cpu (the default), cuda:0.", rich_help_panel="Model"),
    ] = None,
    reference_device: Annotated[str, Option(help="Of the reference.", rich_help_panel="Model")] = "cpu",
    model: Annotated[
        Path | None,
        Option("--model", "-m", help="Folder of a model; without it, the embedded one.", rich_help_panel="Model"),
    ] = None,
    mode: Annotated[
        Literal["own", "reference"],
        Option(help="Feed each backend its own results (drift), or both the reference's (the error of each op)."),
    ] = "own",
    tolerance: Annotated[
        float | None, Option(min=0, help="Drift that is allowed in mode own; by default a figure for each dtype.")
    ] = None,
    zoom: Annotated[bool, Option("--zoom", help="Open the first fused op that is wrong, down to a primitive.")] = False,
    png: Annotated[Path | None, Option(help="Also draw the drift against the op's index (needs matplotlib).")] = None,
) -> int:
    """Compare two backends op by op through one generation. Exits with 1 beyond tolerance, naming the op.

    Example: opensora parity numpy torch --dtype bfloat16 --zoom
    """
    limit_threads(model)
    from ..media.images import read_image
    from ..parity import parity as run
    from ..parity.picture import check_drawing, draw
    from ..parity.runner import PROMPT

    if png is not None:
        check_picture(png)
        check_drawing()
    trusted = find_backend(reference, reference_device, dtype)
    compared = find_backend(candidate, device, dtype)
    options: dict[str, Any] = {**size.settings(), **sampling.settings()}
    if image is not None:
        options["image"] = read_image(image)
    words = PROMPT if prompt is None else prompt
    with screen.progress("comparing", report=True) as advance:
        report = run(
            trusted, compared, words, model=model, mode=mode, limit=tolerance, zoom=zoom, tell=advance, **options
        )
    report = replace(
        report, reference=_named(report.reference, reference), candidate=_named(report.candidate, candidate)
    )
    if png is not None:
        draw(report, png)
    by_block, by_op = map(columns, report.tables())
    document = {**report.to_dict(), "png": None if png is None else str(png)}
    screen.result(document, *by_block, "", *by_op, "", *report.verdict())
    return 0 if report.ok else 1


def _named(side: Side, asked: str) -> Side:
    """The backend under the name by which it was asked for; a class may have inherited another's."""
    return side if asked == "auto" else side._replace(name=asked)
