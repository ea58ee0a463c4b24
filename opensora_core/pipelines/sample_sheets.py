"""Pictures of what a run has learned so far: one contact sheet every so many steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..media.sheet import labelled_sheet
from ..media.video import Video
from ..serialization.atomic import atomic_file
from ..training.log import Progress
from ..training.samples import Samples
from .opensora import OpenSora


class SampleSheets:
    """Draws `folder/step-NNNNNNNN.png` after the steps that are due; a callback of the `Trainer`.

    model: returns the model as trained so far. Raises InvalidInputError at once for prompts or sizes that the model of
    now cannot make.
    """

    def __init__(self, samples: Samples, model: Callable[[], OpenSora], folder: Path) -> None:
        self.samples, self.folder, self._model = samples, folder, model
        now = model()
        now.request(**samples.sizes)
        for prompt in samples.prompts:
            now.encode_prompt(prompt)

    def __call__(self, progress: Progress) -> None:
        """Draw, if it is time to."""
        if progress.step % self.samples.every == 0 or progress.step == progress.total:
            self.draw(self.folder / f"step-{progress.step:08d}.png")

    def draw(self, path: Path) -> None:
        """Write the sheet of the present weights, whole or not at all."""
        model = self._model()
        # A young model may overflow; that must show, and not end the run.
        options: dict[str, Any] = {**self.samples.sizes, "seed": self.samples.seed, "check_finite": "off"}
        videos: list[Video] = [model.generate_from_text(prompt, **options) for prompt in self.samples.prompts]
        sheet = labelled_sheet([video.frames for video in videos], self.samples.prompts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            sheet.save(temporary)
