"""plan: how much memory a video of a published model will take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from .model_options import Dtype, Offload
from .options import Option
from .screen import Screen, columns

if TYPE_CHECKING:
    from ..pipelines.published.planning import GenerationPlan
    from ..pipelines.published.stages import Stage

GIB = 2**30
BYTES = ("weights", "activations", "process", "peak")


@dataclass(frozen=True)
class PlannedSize:
    """Length and size of the video; what is not given is the release's own."""

    resolution: Annotated[str | None, Option(help="By its official name, such as 720p; of v2.0 256px.")] = None
    aspect_ratio: Annotated[str | None, Option(help="Beside a resolution, width first: 16:9.")] = None
    height: Annotated[int | None, Option(min=1, help="Pixels, in place of a resolution.")] = None
    width: Annotated[int | None, Option(min=1, help="Pixels, in place of a resolution.")] = None
    num_frames: Annotated[int | None, Option("--frames", "--num-frames", min=1, help="Of the video.")] = None
    given_frames: Annotated[int, Option(min=0, help="With which it begins: 1 for an image, more for a video.")] = 0
    cond_type: Annotated[str | None, Option(help="t2i2v (v2.0): an image model makes the first frame.")] = None
    image_resolution: Annotated[str | None, Option(help="Of the picture that t2i2v makes: 768px.")] = None

    def settings(self) -> dict[str, Any]:
        """As `GenerationPlan` takes them."""
        return asdict(self)


def plan(
    screen: Screen,
    model: Annotated[str, Option("--model", "-m", help="v1.0 to v2.0 at the published size, or published weights.")],
    size: PlannedSize,
    parts: Annotated[
        list[Path] | None, Option("--with", help="Autoencoder or text encoder of published weights (repeat).")
    ] = None,
    backend: Annotated[
        str, Option(help="Whose memory is foretold: numpy or torch; of any other an upper bound.")
    ] = "torch",
    dtype: Dtype = None,
    offload_type: Offload = "none",
) -> None:
    """Show how much memory each stage of a generation will take, before anything is read or allocated.

    Example: opensora plan --model v1.2 --resolution 720p --frames 51 --dtype bfloat16
    """
    from ..pipelines.published.components import ReleaseFiles
    from ..pipelines.published.planning import GenerationPlan
    from ..releases.hub import local
    from ..releases.release import RELEASES

    paths: list[str | Path] = [model, *(parts or [])]
    files = RELEASES.get(model) or ReleaseFiles([local(path) for path in paths])
    planned = GenerationPlan(files, backend, dtype or "float32", offload_type, **size.settings())
    _show(screen, planned, list(planned.stages()))


def _show(screen: Screen, planned: GenerationPlan, stages: list[Stage]) -> None:
    from ..pipelines.request import available_bytes

    request, clip = planned.request, planned.clip.num_frames
    peak, free = max(stage.peak for stage in stages), available_bytes()
    rows: list[tuple[str, ...]] = [("stage", "model", *BYTES)]
    rows += [(s.name, s.model, *(f"{getattr(s, part) / GIB:.2f} GiB" for part in BYTES)) for s in stages]
    sizes = {"height": request.height, "width": request.width, "num_frames": request.num_frames, "clip_frames": clip}
    document = {
        "release": planned.release.name,
        **sizes,
        "backend": planned.backend,
        "dtype": planned.dtype,
        "offload_type": planned.offload_type,
        "stages": [{**vars(stage), "peak": stage.peak} for stage in stages],
        "peak": peak,
        "available": free,
    }
    what = f"{request.num_frames} frames of {request.width}x{request.height}"
    what += "" if clip == request.num_frames else f", {clip} at a time"
    screen.result(
        document,
        f"Open-Sora {planned.release.name}: {what}, {planned.backend} in {planned.dtype}",
        "",
        *columns(rows),
        "",
        f"one stage after another: {peak / GIB:.2f} GiB at most"
        + ("" if free is None else f"; {free / GIB:.2f} GiB are available here"),
    )
