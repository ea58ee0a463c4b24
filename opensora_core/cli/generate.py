"""generate, animate, extend: a video from a prompt, from an image, from a clip."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from .model_options import AnyModelOptions
from .options import Argument, Option, SamplingOptions, SavingOptions, SizeOptions
from .published_options import ClipOptions, NamedSize, ReferenceOptions, SamplerOptions, ScoreOptions
from .saving import Target, check_paths, plan, refuse_same
from .screen import Screen
from .threads import limit_threads

if TYPE_CHECKING:
    from ..media.video import Video
    from ..pipelines.video_model import VideoModel

GIVEN = (
    "image", "video", "references", "mask_strategy", "cond_type", "condition_frames", "negative_prompt", "latents_file",
)  # fmt: skip
"""Options of a generation that are no numbers or names of its request."""
Words = Annotated[str, Argument(metavar="PROMPT", help="What happens in the video.")]


def generate(
    screen: Screen,
    prompt: Annotated[str, Argument(metavar="PROMPT", help="What the video shows, in English.")],
    saving: SavingOptions,
    size: SizeOptions,
    sampling: SamplingOptions,
    model: AnyModelOptions,
    named: NamedSize,
    scores: ScoreOptions,
    how: SamplerOptions,
    clips: ClipOptions,
    given: ReferenceOptions,
) -> None:
    """Make a video of what PROMPT says.

    Example: opensora generate "a red circle moves right on a blue background" -o out.mp4
    """
    limit_threads(model.model)
    check_paths(saving)
    own = {**named.settings(), **scores.settings(), **how.settings(), **clips.settings(), **given.settings()}
    _make(screen, model, saving, prompt, **size.settings(), **sampling.settings(), **own)


def animate(
    screen: Screen,
    image: Annotated[Path, Argument(metavar="IMAGE", help="The first frame: PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF.")],
    saving: SavingOptions,
    size: SizeOptions,
    sampling: SamplingOptions,
    model: AnyModelOptions,
    named: NamedSize,
    scores: ScoreOptions,
    how: SamplerOptions,
    clips: ClipOptions,
    prompt: Words = "",
) -> None:
    """Make a video that begins with IMAGE, scaled and cropped to the video's size.

    Example: opensora animate ball.png "the ball moves up" -o ball.mp4
    """
    limit_threads(model.model)
    from ..media.images import read_image

    check_paths(saving)
    refuse_same(image, saving)
    own = {**named.settings(), **scores.settings(), **how.settings(), **clips.settings()}
    _make(screen, model, saving, prompt, image=read_image(image), **size.settings(), **sampling.settings(), **own)


def extend(
    screen: Screen,
    video: Annotated[
        Path, Argument(metavar="VIDEO", help="The clip to continue: a video file, an animation, a folder of frames.")
    ],
    saving: SavingOptions,
    sampling: SamplingOptions,
    model: AnyModelOptions,
    scores: ScoreOptions,
    how: SamplerOptions,
    clips: ClipOptions,
    prompt: Words = "",
    num_frames: Annotated[int, Option(min=1, help="How many new frames.", rich_help_panel="Video")] = 16,
    height: Annotated[
        int | None, Option(min=1, help="Bring the clip to this height first.", rich_help_panel="Video")
    ] = None,
    width: Annotated[
        int | None, Option(min=1, help="Bring the clip to this width first.", rich_help_panel="Video")
    ] = None,
    fps: Annotated[float | None, Option(help="Bring the clip to this rate first.", rich_help_panel="Video")] = None,
) -> None:
    """Continue the clip VIDEO by new frames; its own frames stay as they are.

    Example: opensora extend out.mp4 "it comes back" --num-frames 16 -o longer.mp4
    """
    limit_threads(model.model)
    from ..media.decode import read_video

    check_paths(saving)
    refuse_same(video, saving)
    clip = read_video(video, fps=fps)
    clip = clip.fit(height or clip.height, width or clip.width)
    own = {"height": clip.height, "width": clip.width, "fps": clip.fps, "num_frames": clip.num_frames + num_frames}
    settings = {
        **own,
        **sampling.settings(),
        **scores.settings(),
        **how.settings(),
        **clips.settings(),
    }
    _make(screen, model, saving, prompt, video=clip, **settings)


def _make(screen: Screen, options: AnyModelOptions, saving: SavingOptions, prompt: str, **settings: Any) -> None:
    start = time.perf_counter()
    model = options.load(screen)
    request = model.request(**{name: value for name, value in settings.items() if name not in GIVEN})
    target = plan(saving, request)
    loaded = time.perf_counter()
    settings, spare = _keeping_latents(model, saving, {**settings, "seed": request.seed})
    video = _generate(screen, model, prompt, settings)
    generated = time.perf_counter()
    _save(target, video, spare)
    seconds = {"load": loaded - start, "generate": generated - loaded, "save": time.perf_counter() - generated}
    reused = {k: v for k, v in video.metadata.items() if k == "approximated_steps"}
    document = {
        "output": target.output,
        "prompt": prompt,
        **request.settings(),
        **reused,
        "scale": target.scale,
        "contact_sheet": None if target.contact_sheet is None else str(target.contact_sheet),
        "backend": model.ops.name,
        "device": model.ops.device,
        "dtype": model.ops.dtype,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }
    enlarged = f" saved as {video.width * target.scale}x{video.height * target.scale}" if target.scale > 1 else ""
    frames = "1 frame" if video.num_frames == 1 else f"{video.num_frames} frames"
    screen.result(
        document,
        f"{target.output}: {frames} of {video.width}x{video.height}{enlarged}, {video.fps:g} fps, "
        f"seed {request.seed}, {model.ops.name}, {generated - loaded:.1f} s"
        + "".join(f", an approximation: {n} steps were not computed" for n in reused.values()),
    )


def _keeping_latents(
    model: VideoModel, saving: SavingOptions, settings: dict[str, Any]
) -> tuple[dict[str, Any], Path | None]:
    """The settings with a file beside the output for latents, and that file, which is spare once the video is saved."""
    from ..pipelines.published.model import PublishedOpenSora

    if not isinstance(model, PublishedOpenSora) or "latents_file" in settings:
        return settings, None
    spare = Path(saving.output).with_suffix("")
    spare = spare.with_name(f"{spare.name}-seed{settings['seed']}.latents.safetensors")
    return {**settings, "latents_file": spare}, spare


def _save(target: Target, video: Video, spare: Path | None) -> None:
    """Write the video, of which latents are spare then; an interruption says where they are."""
    from ..pipelines.published.kept import kept_in

    try:
        target.save(video)
    except KeyboardInterrupt as error:
        if spare is not None and spare.exists():
            error.add_note(kept_in(spare))
        raise
    if spare is not None:
        spare.unlink(missing_ok=True)


def _generate(screen: Screen, model: VideoModel, prompt: str, settings: dict[str, Any]) -> Any:
    from ..pipelines.streaming import Progress

    with screen.progress("generating") as advance:
        for item in model.stream(prompt, **settings):
            if not isinstance(item, Progress):
                return item
            advance(item.step, item.total)
    raise AssertionError("a stream ends with its video")
