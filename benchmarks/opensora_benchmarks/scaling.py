"""How the time and the memory of attention grow with the tokens, by backend: run, slopes and picture in one command.

python -m opensora_benchmarks.scaling [--threads 1] [--budget 5] [--json FILE] [--png FILE]

These are the cases of `opensora bench run '*scaling*'`: full attention, temporal attention of 16 frames in more and
more places, and spatial attention of 256 places in more and more frames. Takes two to four minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .standing import parser_of, read_options, write_json

BACKENDS = ("numpy", "torch", "numba")
RIVAL = "jax"  # shown too where it is installed; it has full attention only


def growth(document: dict[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """By measure, what is scaled and provider: the power of the tokens that it grows with."""
    from .curves import MEASURES, scaling, slope

    return {
        title: {
            name: {
                provider: None if (power := slope(curve)) is None else round(power, 2) for provider, curve in by.items()
            }
            for name, by in scaling(document, measure).items()
        }
        for measure, (title, _) in MEASURES.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print how everything grows, and write results and picture if asked to."""
    parser = parser_of("Time attention at more and more tokens.")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds for each case and provider (default 5)")
    parser.add_argument("--pattern", default="*scaling*", help="which cases (default '*scaling*')")
    parser.add_argument("--png", type=Path, help="file to draw time and memory against tokens into")
    options = read_options(parser, "opensora_benchmarks.scaling", arguments)
    if options is None:
        return
    from .bench import failures

    document = _run(options.pattern, options.budget)
    _write(options, document)
    for measure, cases in document["growth"].items():
        for case, by in cases.items():
            print(f"{case}: {measure} grows with tokens^", ", ".join(f"{power} ({name})" for name, power in by.items()))
    if refused := failures(document):
        raise SystemExit("\n".join(f"{row['case']} by {row['provider']}: {row['reason']}" for row in refused))


def _run(pattern: str, budget: float) -> dict[str, Any]:
    from . import bench
    from .providers import missing_rival

    rivals = () if missing_rival(RIVAL, None) else (RIVAL,)
    asked = bench.Asked(pattern, BACKENDS, rivals, budget=budget, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        document = bench.run(asked, Path(folder, "scaling.json"), _tell)
    return {**document, "growth": growth(document)}


def _tell(done: int, total: int, text: str) -> None:
    print(f"{done} of {total}: {text}", flush=True)


def _write(options: argparse.Namespace, document: dict[str, Any]) -> None:
    from opensora_core.serialization.atomic import atomic_file

    from .report_png import scaling_png

    if options.json:
        write_json(options.json, document)
    if options.png:
        with atomic_file(options.png) as temporary:
            temporary.write_bytes(scaling_png(document))


if __name__ == "__main__":
    main()
