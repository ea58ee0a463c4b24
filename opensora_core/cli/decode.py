"""decode: the video of latents that a generation kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..errors import InvalidInputError
from .model_options import AnyModelOptions
from .options import Argument, SavingOptions
from .saving import check_paths, plan
from .screen import Screen


def decode(
    screen: Screen,
    latents: Annotated[Path, Argument(metavar="LATENTS", help="The file that a generation named.")],
    saving: SavingOptions,
    model: AnyModelOptions,
) -> None:
    """Make the video of LATENTS, kept by a generation with published weights that could not be decoded.

    Example: opensora decode storm-seed7.latents.safetensors --model OpenSora-VAE-v1.2 -o storm.mp4
    """
    from ..pipelines.published.later import decode_latents

    if model.model is None:
        raise InvalidInputError("say where the autoencoder of these latents is: --model FOLDER")
    check_paths(saving)
    video = decode_latents(latents, model.model, *(model.parts or []), backend=model.ops(screen, model.dtype))
    target = plan(saving, video)
    target.save(video)
    frames = "1 frame" if video.num_frames == 1 else f"{video.num_frames} frames"
    screen.result(
        {"output": target.output, "scale": target.scale, "num_frames": video.num_frames, **video.metadata},
        f"{target.output}: {frames} of {video.width}x{video.height}, {video.fps:g} fps",
    )
