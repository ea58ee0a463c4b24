"""The command line `opensora`: every verb shows what a function of the library does.

Results go to stdout, everything else to stderr. Exit codes: 0 ok, 1 a check failed, 2 usage, 3 a missing optional
dependency, 4 over a limit or out of memory, 130 interrupted. Verbs import what they need when they run, so that
`opensora --help` is quick.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run `opensora` with the arguments of this process, and exit."""
    try:
        signal.signal(signal.SIGTERM, _terminated)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that lacks a sign shows "?"
        from .app import app

        app(prog_name="opensora")
    except KeyboardInterrupt:  # while starting; later ones are handled where they happen
        sys.exit(130)
    finally:
        _flush_or_forget()


def _terminated(signum: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that temporary files go and a training run is saved."""
    sys.exit(128 + signum)


def _flush_or_forget() -> None:
    """Flush stdout here, since a reader that has gone would make Python complain at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
