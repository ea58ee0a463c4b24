"""The files that a run does without, each with the reason."""

from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path

SHOWN = 3  # of them in one sentence


class Skipped:
    """Names and reasons, gathered by several threads; a file counts once."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._told = 0
        self._lock = threading.Lock()

    def add(self, name: str | Path, reason: str) -> None:
        """Note a file that cannot be used."""
        with self._lock:
            self._reasons.setdefault(str(name), reason)

    @property
    def reasons(self) -> dict[str, str]:
        """Reason by name, of all so far."""
        with self._lock:
            return dict(self._reasons)

    def news(self) -> dict[str, str]:
        """Reason by name, of those since the last time this was asked."""
        with self._lock:
            fresh = dict(list(self._reasons.items())[self._told :])
            self._told = len(self._reasons)
        return fresh

    def summary(self) -> str:
        """One sentence on how many there are, with the first few, empty when there are none."""
        reasons = self.reasons
        if not reasons:
            return ""
        named = (reason if name in reason else f"{name}: {reason}" for name, reason in reasons.items())
        first = "; ".join(islice(named, SHOWN))
        files = "1 file was" if len(reasons) == 1 else f"{len(reasons)} files were"
        return f"{files} skipped: {first}{'; ...' if len(reasons) > SHOWN else ''}"
