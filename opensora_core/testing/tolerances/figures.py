"""The published figures, as a file of the package."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError
from ...serialization.atomic import atomic_file
from ...serialization.jsonfile import decode_object

DATA = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Figure:
    """What was measured of one op in one dtype on one backend, over many draws.

    ratio: error over allowance, 1 being the limit. relative: error over the largest magnitude of the truth. p999: the
    99.9th percentile. nearest: seed of the batch of draws that came nearest to the limit.
    """

    ratio_p999: float
    ratio_max: float
    relative_p999: float
    relative_max: float
    nearest: int


@dataclass(frozen=True)
class Tolerances:
    """All figures, by op, dtype and backend; about: draws, seed, versions and machine of the measurement."""

    about: Mapping[str, Any]
    figures: Mapping[tuple[str, str, str], Figure] = field(repr=False)

    @property
    def ops(self) -> list[str]:
        """Names of the ops, in the order of the table."""
        return list(dict.fromkeys(op for op, _, _ in self.figures))

    @property
    def backends(self) -> list[str]:
        """Names of the backends."""
        return list(dict.fromkeys(backend for _, _, backend in self.figures))

    def of(self, op: str, dtype: str) -> dict[str, Figure]:
        """The figures of one op in one dtype, by backend; empty if it was not measured."""
        return {b: self.figures[op, dtype, b] for b in self.backends if (op, dtype, b) in self.figures}

    def __iter__(self) -> Iterator[tuple[str, str, str, Figure]]:
        return ((*key, figure) for key, figure in self.figures.items())

    def updated(self, new: Tolerances, order: list[str]) -> Tolerances:
        """These figures with those of some ops replaced; raises InvalidInputError if they were measured otherwise."""
        if dict(new.about) != dict(self.about):
            raise InvalidInputError(
                f"measured with {dict(new.about)}, unlike the rest: {dict(self.about)}; measure all ops"
            )
        kept = {key: figure for key, figure in self.figures.items() if key[0] not in new.ops and key[0] in order}
        return Tolerances(
            self.about, dict(sorted((kept | dict(new.figures)).items(), key=lambda x: order.index(x[0][0])))
        )

    def to_json(self) -> str:
        """One figure a line, so that a new measurement reads as a difference."""
        head = json.dumps(dict(self.about), indent=2)
        columns = json.dumps([f.name for f in fields(Figure)])
        rows = ",\n".join(f"    {json.dumps([*key, *astuple(figure)])}" for key, figure in self.figures.items())
        return f'{{\n  "about": {head},\n  "columns": {columns},\n  "figures": [\n{rows}\n  ]\n}}\n'

    def save(self, path: Path = DATA) -> None:
        """Write the file, whole or not at all."""
        with atomic_file(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")


def published(path: Path = DATA) -> Tolerances:
    """The figures that come with this version."""
    data = decode_object(path.read_bytes(), str(path))
    return Tolerances(data["about"], {(op, dtype, b): Figure(*numbers) for op, dtype, b, *numbers in data["figures"]})
