"""How a video is sampled, how large it is and where it goes: the options that verbs share, each declared once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

Argument, Option = typer.Argument, typer.Option


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample."""

    steps: Annotated[
        int | None,
        Option(help="Denoising steps: more are slower and finer.", rich_help_panel="Sampling"),
    ] = None
    guidance_scale: Annotated[
        float | None,
        Option(help="How closely to follow the prompt; 1 is fastest.", rich_help_panel="Sampling"),
    ] = None
    seed: Annotated[
        int | None,
        Option(help="The same seed gives the same video; drawn and printed if absent.", rich_help_panel="Sampling"),
    ] = None
    negative_prompt: Annotated[
        str | None,
        Option(help="What to stay away from.", rich_help_panel="Sampling"),
    ] = None

    step_cache: Annotated[
        int | None,
        Option(help="Compute every so many steps only, an approximation; 1 (all).", rich_help_panel="Sampling"),
    ] = None

    def settings(self) -> dict[str, Any]:
        """As `OpenSora.stream` takes them."""
        values = asdict(self)
        return {"num_inference_steps": values.pop("steps"), **values}


@dataclass(frozen=True)
class SizeOptions:
    """Length and size of the video; what is not given is the model's own."""

    num_frames: Annotated[
        int | None,
        Option(help="How many frames; longer than the model's own: piece by piece.", rich_help_panel="Video"),
    ] = None
    height: Annotated[int | None, Option(help="Pixels.", rich_help_panel="Video")] = None
    width: Annotated[int | None, Option(help="Pixels.", rich_help_panel="Video")] = None
    fps: Annotated[float | None, Option(help="Frames per second.", rich_help_panel="Video")] = None

    def settings(self) -> dict[str, Any]:
        """As `OpenSora.stream` takes them."""
        return asdict(self)


@dataclass(frozen=True)
class SavingOptions:
    """Where the video goes."""

    output: Annotated[
        str,
        Option(
            "--output",
            "-o",
            help="File to write: .mp4, .gif, .webp, .png (one frame), or a folder for PNG frames.",
            rich_help_panel="Output",
        ),
    ] = "out.mp4"
    scale: Annotated[
        int | None,
        Option(
            help="Repeat every pixel so many times each way in the file; without it, small videos are enlarged to "
            "about 256 pixels, since the embedded model's are 64x64. 1 keeps the size.",
            rich_help_panel="Output",
        ),
    ] = None
    contact_sheet: Annotated[
        Path | None,
        Option(help="Also write all frames side by side as one picture.", rich_help_panel="Output"),
    ] = None
    overwrite: Annotated[
        bool,
        Option(
            help="Whether existing files are replaced (whole, when all is done) or refused.", rich_help_panel="Output"
        ),
    ] = True
