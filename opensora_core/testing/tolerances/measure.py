"""Many draws of every op's arguments, and how far off each backend is on them."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ...errors import ProtocolError
from ...ops import Ops
from ...registry import get_backend
from ..drawing import draw
from ..judge import Accuracy, standard
from ..running import execute, plain
from ..strategies import Call
from ..table import TABLE, OpCase
from .blocks import BLOCKS
from .figures import Figure, Tolerances

Tell = Callable[[str], None]
MEASURED = {name: case for name, case in {**TABLE, **BLOCKS}.items() if name != "compile"}  # it may take a C++ compiler
BATCH = 10  # draws of one seed
PACKAGES = ("numpy", "ml_dtypes", "hypothesis", "torch")


def backends(names: Iterable[str]) -> dict[str, Ops]:
    """Backends by name, "vanilla" being the plain implementation itself."""
    return {name: plain() if name == "vanilla" else get_backend(name) for name in names}


def batch(case: OpCase, number: int) -> list[Call]:
    """The calls of an op that belong to one seed; always the same with one version of Hypothesis."""
    return draw(case.calls, number, BATCH)


def accuracies(case: OpCase, dtype: str, calls: Iterable[Call], on: Mapping[str, Ops]) -> dict[str, list[Accuracy]]:
    """How far off every result is, by backend; raises ProtocolError if there is none of the right kind."""
    found: dict[str, list[Accuracy]] = {name: [] for name in on}
    for call in calls:
        wanted = standard(plain(), case, call, dtype)
        for name, ops in on.items():
            try:
                found[name] += wanted.judge(execute(ops, case.name, call, dtype))
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                raise ProtocolError(f"{case.name} of {name!r} in {dtype} gives nothing to measure: {reason}") from error
    return found


def summarise(batches: Mapping[int, list[Accuracy]]) -> Figure:
    """Percentiles and maxima, of batches by their seeds."""
    found = [a for results in batches.values() for a in results]
    return Figure(
        *_high([a.ratio for a in found]),
        *_high([a.relative for a in found]),
        nearest=max(batches, key=lambda number: max((a.ratio for a in batches[number]), default=0.0)),
    )


def _high(values: list[float]) -> tuple[float, float]:
    """99.9th percentile and maximum, to three digits."""
    percentile = float(np.quantile(values or [0.0], 0.999, method="inverted_cdf"))
    return float(f"{percentile:.3g}"), float(f"{max(values, default=0.0):.3g}")


def measure(
    cases: Iterable[OpCase], on: Mapping[str, Ops], draws: int, first: int = 0, tell: Tell = print
) -> Tolerances:
    """Measure ops on backends, over so many draws or a few more; one line is told for every op."""
    numbers = range(first, first + -(-draws // BATCH))
    figures: dict[tuple[str, str, str], Figure] = {}
    for case in cases:
        found: dict[tuple[str, str], dict[int, list[Accuracy]]] = {(d, name): {} for d in case.dtypes for name in on}
        for number in numbers:
            calls = batch(case, number)
            for dtype in case.dtypes:
                for name, results in accuracies(case, dtype, calls, on).items():
                    found[dtype, name][number] = results
        of_case = {key: summarise(batches) for key, batches in found.items()}
        figures |= {(case.name, *key): figure for key, figure in of_case.items()}
        worst = max(of_case, key=lambda key: of_case[key].ratio_max)
        tell(f"{case.name:15} at most {of_case[worst].ratio_max:.2f} of what is allowed ({' on '.join(worst)})")
    return Tolerances(about(len(numbers) * BATCH, first), figures)


def about(draws: int, first: int) -> dict[str, object]:
    """What the figures depend on."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)}
    return {"draws": draws, "seed": first, "machine": platform.machine(), "versions": versions}


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
