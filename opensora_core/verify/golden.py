"""Golden sets: numbers recorded from the official implementation, as a pair NAME.json + NAME.safetensors.

The JSON says what was run (`kind`, `version`, `config`, `cases` with their arguments and tolerances); the tensors are
`w/<weight>` and `<case>/<in|mid|out|out64>/<name>`, where out64 is the same run entirely in float64. A JSON without
cases is a plain table and a set of its own, whose kind is its `kind` field or its name without the version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError, InvalidInputError
from ..ops import Array, Ops
from ..serialization.names import closest
from ..serialization.reader import SafetensorsFile, open_safetensors

MAX_JSON_BYTES = 64 * 2**20
KEY_MAP = "state_dict_keys"  # the kind of a table {weight: [length, ..., dtype]}


@dataclass(frozen=True)
class Tolerance:
    """How far the official float32 run lies from the official float64 run of one output."""

    max_abs: float
    scale: float  # largest absolute value of the output


@dataclass(frozen=True)
class GoldenCase:
    """One run: its scalar arguments, and which outputs and intermediates were recorded."""

    name: str
    args: Mapping[str, Any]
    outputs: tuple[str, ...]
    mids: tuple[str, ...]
    tolerances: Mapping[str, Tolerance]

    @property
    def tensors(self) -> list[str]:
        """Names of all that was recorded, as results are named: "out/..." and "mid/..."."""
        return [*(f"out/{name}" for name in self.outputs), *(f"mid/{name}" for name in self.mids)]


@dataclass(frozen=True)
class GoldenSet:
    """One golden set; the JSON is read at once, tensors when asked for.

    rounding: a half-precision dtype through which weights and inputs are rounded when read, or None.
    """

    path: Path  # of the JSON
    kind: str
    version: str
    config: Mapping[str, Any]
    cases: Mapping[str, GoldenCase]
    table: Any = field(repr=False)  # the whole JSON
    rounding: str | None = None

    @property
    def name(self) -> str:
        """Name of the set: that of its files."""
        return self.path.stem

    @cached_property
    def tensors(self) -> SafetensorsFile:
        """Everything recorded, by full name. Raises FileFormatError for a damaged file."""
        return open_safetensors(self.path.with_suffix(".safetensors"))

    def tensor(self, name: str) -> NDArray[Any]:
        """One tensor by its full name. Raises FileFormatError when the set lacks it."""
        if name not in self.tensors:
            raise FileFormatError(f"golden set {self.path} lacks the tensor {name!r}{closest(name, self.tensors)}")
        return self.tensors[name]

    def inputs(self, case: str) -> dict[str, NDArray[Any]]:
        """The inputs of one case by name; an input that is absent was None."""
        prefix = f"{case}/in/"
        return {name[len(prefix) :]: self._rounded(name) for name in self.tensors if name.startswith(prefix)}

    def weights(self, donor: str | None = None) -> dict[str, NDArray[Any]]:
        """Weights by their state-dict names; a set without any takes those of the set `donor` beside it."""
        found = {name[2:]: self._rounded(name) for name in self.tensors if name.startswith("w/")}
        if found or donor is None:
            return found
        return replace(GoldenSet.load(self.path.with_name(f"{donor}.json")), rounding=self.rounding).weights()

    def _rounded(self, name: str) -> NDArray[Any]:
        x = self.tensors[name]
        if self.rounding is None or x.dtype.kind != "f":
            return x
        return x.astype(np.dtype(self.rounding)).astype(x.dtype)

    @classmethod
    def load(cls, path: Path) -> GoldenSet:
        """Read the JSON of one set.

        Raises InvalidInputError when one file of the pair is missing, FileFormatError when the JSON is damaged.
        """
        table = _read_json(path)
        fields = table if isinstance(table, dict) and isinstance(table.get("cases"), dict) else {}
        if fields and not path.with_suffix(".safetensors").exists():
            raise InvalidInputError(f"golden set {path} has no {path.stem}.safetensors beside it")
        try:
            cases = {name: _case(name, case) for name, case in fields.get("cases", {}).items()}
            kind, version, config = _kind(path, table), str(fields.get("version", "")), dict(fields.get("config", {}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(f"golden set {path} is malformed: {type(error).__name__} {error}") from error
        return cls(path, kind, version, config, cases, table)


def find_golden_sets(folder: str | Path) -> list[Path]:
    """Paths of the JSON files of all golden sets below a folder, sorted; also where only the tensors are there.

    Raises InvalidInputError when there is no such folder or no set in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InvalidInputError(f"{root} is not a folder; expected one with golden sets (NAME.json + NAME.safetensors)")
    found = {path.with_suffix(".json") for path in _files(root) if path.suffix in (".json", ".safetensors")}
    if not found:
        raise InvalidInputError(f"no golden sets (NAME.json + NAME.safetensors) below {root}")
    return sorted(found)


def bring(ops: Ops, x: NDArray[Any]) -> Array:
    """An input on the backend: floats in float64 if that is the backend's dtype, else in float32; others as they are.

    Half precision starts inside the models, as in real runs: latents and timesteps arrive in float32.
    """
    return ops.asarray(x, ops.wide_dtype if x.dtype.kind == "f" else None)


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def _read_json(path: Path) -> Any:
    if not path.exists():
        raise InvalidInputError(f"golden set {path.with_suffix('.safetensors')} has no {path.name} beside it")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise FileFormatError(
            f"{path} has {path.stat().st_size} bytes; the limit for a golden table is {MAX_JSON_BYTES}"
        )
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is damaged: {error}") from error


def _kind(path: Path, table: Any) -> str:
    if isinstance(table, dict) and "kind" in table:
        return str(table["kind"])
    if isinstance(table, dict) and table and all(_is_shape(value) for value in table.values()):
        return KEY_MAP
    return re.sub(r"[_-]v\d+(\.\d+)*$", "", path.stem)


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[-1], str)
        and all(isinstance(length, int) for length in value[:-1])
    )


def _case(name: str, case: Mapping[str, Any]) -> GoldenCase:
    tolerances = {k: Tolerance(float(t["max_abs"]), float(t["scale"])) for k, t in case.get("tol", {}).items()}
    return GoldenCase(name, case.get("args", {}), tuple(case["outputs"]), tuple(case.get("mids", ())), tolerances)
