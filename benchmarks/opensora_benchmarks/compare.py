"""Whether a second run is faster or slower than a first one, by a bootstrap interval of the ratio of medians."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opensora_core.errors import InvalidInputError

SAME_MACHINE = ("device", "processor", "processors", "system", "threads")
KEY = ("case", "provider", "dtype", "cache", "device")
RESAMPLES = 2000
MARGIN = 0.1  # of two runs on a virtual machine, one row in a hundred differs by more (`compare_check`)


@dataclass(frozen=True)
class Comparison:
    """Median time of B over that of A with its 95 % interval, and what it says."""

    case: str
    provider: str
    ratio: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Change:
    """A row that one of the runs lacks, or that got a time in one of them alone."""

    case: str
    provider: str
    change: str
    lost: bool
    """Whether it was timed in A and is refused, or raises, in B."""


def compare(a: Mapping[str, Any], b: Mapping[str, Any], margin: float = MARGIN) -> list[Comparison]:
    """Every case and provider that both documents timed, in the order of A; `changes` tells of the others.

    margin: relative difference that counts as none. Raises InvalidInputError for documents of different machines or
    numbers of threads, where nothing is common, and where neither has a time.
    """
    if not 0 < margin < 1:
        raise InvalidInputError(f"margin={margin:g} must lie between 0 and 1")
    _same_machine(a["environment"], b["environment"])
    others = {_key(row): row for row in _timed(b)}
    pairs = [(row, others[_key(row)]) for row in _timed(a) if _key(row) in others]
    if not _rows(a).keys() & _rows(b).keys():
        raise InvalidInputError(f"nothing in common: no row of A and B agrees in {', '.join((*KEY, 'shape'))}")
    if not pairs and not changes(a, b):
        raise InvalidInputError("no row was timed in either run")
    return [_compared(x, y, margin) for x, y in pairs]


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    """Rows that only one of the documents has, or whose status differs, in the order of A, then of B."""
    first, second = _rows(a), _rows(b)
    return [
        change
        for key in dict.fromkeys((*first, *second))
        if (change := _changed(first.get(key), second.get(key))) is not None
    ]


def _changed(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> Change | None:
    if a is None or b is None:
        row, where = (b, "B") if a is None else (a, "A")
        assert row is not None
        return Change(row["case"], row["provider"], f"only in {where}", False)
    if a["status"] == b["status"]:
        return None
    before, after = ("ok" if x["status"] == "ok" else x["status"].upper() for x in (a, b))
    lost = a["status"] == "ok" and b["status"] in ("fail", "error")
    reason = f": {b['reason']}" if b["status"] != "ok" else ""
    return Change(a["case"], a["provider"], f"{before} in A, {after} in B{reason}", lost)


def interval(a: Sequence[float], b: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Ratio of the medians of b and a, with the 2.5th and 97.5th percentile of its bootstrap distribution.

    Whole blocks of samples are drawn, as long as neighbours are alike: on a machine that drifts, single ones would
    seem to say more than they do.
    """
    rng = np.random.default_rng(seed)
    medians = [_medians(np.asarray(x), rng) for x in (a, b)]
    low, high = np.percentile(medians[1] / medians[0], [2.5, 97.5])
    return float(np.median(b) / np.median(a)), float(low), float(high)


def block_length(samples: NDArray[np.float64]) -> int:
    """Samples of a block, for noise whose neighbours are correlated as they are here (Carlstein 1986, for AR(1))."""
    n, log = len(samples), np.log(samples)
    rest = log - log.mean()
    spread = float(rest @ rest)
    rho = min(0.95, max(0.0, float(rest[1:] @ rest[:-1]) / spread)) if spread > 0 else 0.0
    return int(min(max(1, n // 3), np.ceil((6**0.5 * rho / (1 - rho**2)) ** (2 / 3) * n ** (1 / 3)), n)) or 1


def _medians(samples: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of samples drawn anew, block by block; the first sample follows the last."""
    n, length = len(samples), block_length(samples)
    starts = rng.integers(0, n, (RESAMPLES, -(-n // length), 1))
    places = (starts + np.arange(length)) % n
    return np.median(samples[places.reshape(RESAMPLES, -1)[:, :n]], axis=1)


def verdict(low: float, high: float, margin: float = MARGIN) -> str:
    """FASTER or SLOWER if the whole interval is beyond the margin, SAME if it is within, UNSURE if it crosses it."""
    if high < 1 / (1 + margin):
        return "FASTER"
    if low > 1 + margin:
        return "SLOWER"
    return "SAME" if low >= 1 / (1 + margin) and high <= 1 + margin else "UNSURE"


def _compared(a: Mapping[str, Any], b: Mapping[str, Any], margin: float) -> Comparison:
    ratio, low, high = interval(a["samples_s"], b["samples_s"])
    return Comparison(a["case"], a["provider"], ratio, low, high, verdict(low, high, margin))


def _timed(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (row for row in document["results"] if row["status"] == "ok")


def _rows(document: Mapping[str, Any]) -> dict[tuple[str, ...], Mapping[str, Any]]:
    return {_key(row): row for row in document["results"]}


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (*(row[name] for name in KEY), repr(sorted(row["shape"].items())))


def _same_machine(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    differing = [f"{name}: {a.get(name)} and {b.get(name)}" for name in SAME_MACHINE if a.get(name) != b.get(name)]
    if differing:
        raise InvalidInputError(f"the runs cannot be compared, they differ in {'; '.join(differing)}")
