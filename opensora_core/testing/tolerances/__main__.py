"""Measures how far off every op is on every backend, and publishes it.

python -m opensora_core.testing.tolerances [--backends numpy,torch] [--ops exp,attention] [--draws 1000] [--write]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import InvalidInputError, OpenSoraError
from ..table import OpCase
from .figures import DATA, Tolerances, published
from .measure import MEASURED, backends, measure
from .page import tables, write

PAGE = Path(__file__).parents[3] / "docs" / "tolerances.md"
PUBLISHED = ("numpy", "torch", "vanilla")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, or write them; exits with 1 if a backend errs more than it may."""
    parser = argparse.ArgumentParser(prog="python -m opensora_core.testing.tolerances", description=__doc__)
    parser.add_argument("--backends", default=",".join(PUBLISHED), help="names or module:Class, separated by commas")
    parser.add_argument("--ops", help="names of ops, separated by commas; all unless given")
    parser.add_argument("--draws", type=int, default=1000, help="calls of every op")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--write", action="store_true", help=f"publish in {DATA.name} and docs/{PAGE.name}")
    options = parser.parse_args(argv)
    try:
        return _run(options)
    except OpenSoraError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(options: argparse.Namespace) -> int:
    names = options.backends.split(",")
    if options.write and names != list(PUBLISHED):
        raise InvalidInputError(f"--write publishes {', '.join(PUBLISHED)}; leave out --backends")
    if options.draws < 1:
        raise InvalidInputError(f"--draws is {options.draws}; at least one is needed")
    found = measure(_cases(options.ops), backends(names), options.draws, options.seed, tell=_tell)
    beyond = [f"{op} in {dtype} on {backend}" for op, dtype, backend, f in found if not f.ratio_max <= 1]
    if options.write:
        publish(found)
    else:
        print(tables(found))
    if beyond:
        print(f"beyond what is allowed: {'; '.join(beyond)}", file=sys.stderr)
    return 1 if beyond else 0


def publish(found: Tolerances) -> None:
    """Write the data and, in a checkout, the page; the figures of ops that were not measured stay."""
    if set(found.ops) != set(MEASURED):
        found = published().updated(found, order=list(MEASURED))
    found.save()
    if PAGE.exists():
        write(found, PAGE)


def _cases(names: str | None) -> list[OpCase]:
    if names is None:
        return list(MEASURED.values())
    unknown = [name for name in names.split(",") if name not in MEASURED]
    if unknown:
        raise InvalidInputError(f"there is no op {', '.join(unknown)} to measure; there are {', '.join(MEASURED)}")
    return [MEASURED[name] for name in names.split(",")]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
