"""What all three tasks report, and how they tell that they get on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..media.video import Frames
from ..synthetic.adherence import Adherence

Tell = Callable[[int], None]
"""Is called with the number of cases done."""


@dataclass(frozen=True)
class Report:
    """Adherence of what was generated and of real renders of the same scenes, the upper bound; time, and the videos."""

    generated: Adherence
    real: Adherence
    seconds_per_video: float
    videos: tuple[Frames, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without the videos."""
        values = asdict(replace(self, videos=()))
        del values["videos"]
        return values
