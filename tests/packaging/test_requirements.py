"""The development requirements are exact, complete and within what the package itself asks for."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LINES = [line.partition("#")[0].strip() for line in (ROOT / "requirements-dev.txt").read_text().splitlines()]
PINNED = [Requirement(line) for line in LINES if line and line != "-e ."]
VERSIONS = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in PINNED}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]


def holds(marker: Marker | None) -> bool:
    return marker is None or marker.evaluate({**default_environment(), "extra": ""})


def test_every_line_pins_one_version_and_the_project_is_installed():
    assert "-e ." in LINES
    for pin in PINNED:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} is not exact"
    assert VERSIONS["torch"] == "2.13.0"
    assert len(VERSIONS) == len(PINNED), "a package is pinned twice"


@pytest.mark.parametrize("line", PROJECT["dependencies"] + EXTRAS)
def test_pins_are_within_the_ranges_of_the_package(line):
    wanted = Requirement(line)
    assert wanted.specifier.contains(VERSIONS[canonicalize_name(wanted.name)])


@pytest.mark.parametrize("name", sorted(set(VERSIONS) - {"torch"}))  # a CUDA build of torch pins its libraries itself
def test_what_a_pinned_package_needs_is_pinned_too(name):
    for line in importlib.metadata.requires(name) or []:
        need = Requirement(line)
        if holds(need.marker):
            assert canonicalize_name(need.name) in VERSIONS, f"{name} needs {need}"
