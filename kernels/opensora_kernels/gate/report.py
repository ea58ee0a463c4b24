"""What the compiler made of a kernel: registers, spills, local memory, tensor-core instructions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..cuda.launching import SOURCES
from .instantiations import Instantiation
from .nvrtc import Compiled, compile_source

ARCHS = ("80", "90a", "100a", "120a")
OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", f"-I{SOURCES}")  # CuPy's
VERBOSE = ("-Xptxas", "-v")
USAGE = re.compile(
    r"properties for (?P<symbol>\w+)\n\D*(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads\n.*?Used (?P<registers>\d+) registers"
)


@dataclass(frozen=True)
class Report:
    """One kernel on one GPU. stack: bytes of local memory a thread; spilled: bytes stored to and read from it.

    remarks: what else is wrong with it.
    """

    file: str
    name: str
    arch: str
    registers: int
    stack: int
    spilled: int
    mma: int  # tensor-core instructions in its PTX
    remarks: tuple[str, ...] = ()


def compile_kernels(wanted: Iterable[Instantiation], arch: str) -> Iterator[Report]:
    """Compile for sm_<arch>, one translation unit a source file, and report on every kernel."""
    files: dict[str, list[str]] = {}
    for one in wanted:
        files.setdefault(one.file, []).append(one.name)
    for file, names in files.items():
        yield from report(file, (SOURCES / file).read_text(), names, arch)


def report(file: str, source: str, names: list[str], arch: str) -> Iterator[Report]:
    """Compile instantiations of a source; LookupError for one of which the compiler's log says nothing."""
    compiled = compile_source(source, file, names, (f"-arch=sm_{arch}", *OPTIONS, *VERBOSE))
    usage = {found["symbol"]: found for found in USAGE.finditer(compiled.log)}
    for name in names:
        symbol = compiled.lowered[name]
        if symbol not in usage:
            raise LookupError(f"ptxas said nothing about {name} ({symbol}) of {file}:\n{compiled.log}")
        found = usage[symbol]
        spilled = int(found["stores"]) + int(found["loads"])
        mma = body(compiled, symbol).count("mma.sync.")
        yield Report(file, name, arch, int(found["registers"]), int(found["stack"]), spilled, mma)


def body(compiled: Compiled, symbol: str) -> str:
    """The PTX of one kernel."""
    start = compiled.ptx.index(f".entry {symbol}(")
    end = compiled.ptx.find(".entry ", start + 1)
    return compiled.ptx[start : end if end > 0 else None]
