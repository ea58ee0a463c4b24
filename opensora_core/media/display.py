"""Videos to look at: a contact sheet, and the picture a notebook shows."""

from __future__ import annotations

import base64
import html
import io
import math
from typing import TYPE_CHECKING

from ..errors import InvalidInputError, LimitError
from .encode import enlarged, is_small, write_webp
from .record import Record

if TYPE_CHECKING:
    from PIL import Image

    from .video import Video

_GAP = 4  # pixels between frames
_LABEL = 14  # pixels above a frame for its number
_PAPER = (255, 255, 255)
_INK = (60, 60, 60)
_SMALLEST, _LARGEST = 160, 320  # longer side of a frame on a sheet whose scale is not given
_MAX_SHEET_PIXELS = 100_000_000
_NOTEBOOK_WIDTH = 320  # CSS pixels at least


def contact_sheet(
    video: Video, *, columns: int | None = None, scale: float | None = None, every: int = 1, labels: bool = True
) -> Image.Image:
    """Every `every`-th frame side by side in reading order, with its number above where `labels`.

    `scale` enlarges by nearest neighbour above 1 and shrinks with antialiasing below; by default a frame becomes 160 to
    320 pixels long. `columns` defaults to what makes the sheet about square.

    Raises InvalidInputError for counts below 1 or a scale of 0 or less, LimitError for a sheet above 100 megapixels.
    """
    from PIL import Image, ImageDraw

    _check_layout(columns, scale, every)
    scale = _default_scale(video) if scale is None else scale
    width, height = max(1, round(video.width * scale)), max(1, round(video.height * scale))
    shown = range(0, video.num_frames, every)
    columns = min(len(shown), columns or math.ceil(math.sqrt(len(shown) * height / width)))
    rows = math.ceil(len(shown) / columns)
    step_x, step_y = width + _GAP, height + _GAP + (_LABEL if labels else 0)
    size = (columns * step_x + _GAP, rows * step_y + _GAP)
    if size[0] * size[1] > _MAX_SHEET_PIXELS:
        raise LimitError(f"the sheet would be {size[0]}x{size[1]} pixels; raise every={every} or lower scale={scale:g}")
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    for place, index in enumerate(shown):
        left, bottom = _GAP + place % columns * step_x, (place // columns + 1) * step_y
        sheet.paste(Image.fromarray(video.frames[index]).resize((width, height), way), (left, bottom - height))
        if labels:
            draw.text((left, bottom - height - _LABEL + 1), str(index), fill=_INK)
    return sheet


def to_html(video: Video) -> str:
    """An `<img>` with the video inside, looping, sharp when enlarged.

    Animated WebP, since notebooks show pictures everywhere, but H.264 only where the editor came with that decoder.
    """
    shown = video
    longer = max(video.height, video.width)
    if longer > 2 * _NOTEBOOK_WIDTH:
        factor = 2 * _NOTEBOOK_WIDTH / longer
        shown = video.fit(max(1, round(video.height * factor)), max(1, round(video.width * factor)))
    if shown.fps > 60:
        shown = shown.resample(60)
    record = Record(shown.fps, shown.num_frames, shown.height, shown.width)
    buffer = io.BytesIO()
    write_webp(buffer, enlarged(shown, 1), record, lossless=is_small(shown))
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    caption = html.escape(" · ".join([*_prompt(video), repr(video)]))
    return (
        f'<figure style="margin:0"><img src="data:image/webp;base64,{data}" alt="{caption}" '
        f'style="width:{max(_NOTEBOOK_WIDTH, shown.width)}px;max-width:100%;image-rendering:pixelated">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _prompt(video: Video) -> list[str]:
    prompt = video.metadata.get("prompt")
    return [prompt] if isinstance(prompt, str) and prompt else []


def _default_scale(video: Video) -> float:
    longer = max(video.height, video.width)
    if longer < _SMALLEST:
        return math.ceil(_SMALLEST / longer)
    return min(1.0, _LARGEST / longer)


def _check_layout(columns: int | None, scale: float | None, every: int) -> None:
    if columns is not None and columns < 1:
        raise InvalidInputError(f"columns={columns} must be at least 1, or None")
    if scale is not None and not 0 < scale <= 64:
        raise InvalidInputError(f"scale={scale} must be above 0 and at most 64, or None")
    if every < 1:
        raise InvalidInputError(f"every={every} must be at least 1")
