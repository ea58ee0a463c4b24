"""Compile CUDA C++ for the CPU with g++, once: the library is kept in a cache under the hash of all that made it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

INCLUDE = Path(__file__).parent / "include"
HEADERS = ("*.h", "*.hpp", "*.cuh", "*.cu")
FLAGS = (
    *("-x", "c++", "-std=c++17", "-shared", "-fPIC", "-g1"),
    *("-fvisibility=hidden", "-fno-gnu-unique"),  # two modules share nothing
    *("-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=0"),  # its longjmp takes a switch of fibers for an attack
    *("-fno-strict-aliasing", "-ffp-contract=off"),
    *("-Wno-unknown-pragmas", "-Wno-attributes", "-Wno-psabi"),
)
SANITIZE = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-fno-sanitize=vptr")
LINKED = ("-ldl",)


class CompileError(RuntimeError):
    """The source does not compile, or there is no compiler."""


def cache_folder() -> Path:
    """Where compiled modules are kept: OPENSORA_EMULATION_CACHE, or below the user's cache folder."""
    named = os.environ.get("OPENSORA_EMULATION_CACHE")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "opensora" / "emulation"


def compile_library(source: str, options: Sequence[str], *, optimize: str, sanitize: bool) -> Path:
    """Return the shared library of a C++ source, from the cache or made now.

    options: those of the CUDA compiler; -D, -U and -I are heeded, the rest concerns only GPUs.
    """
    compiler = _find_compiler()
    heeded = [option for option in options if option.startswith(("-D", "-U", "-I"))]
    command = [
        *(compiler, optimize, *FLAGS),
        *(SANITIZE if sanitize else ()),
        *heeded,
        *(f"-I{INCLUDE}", "-include", "cuda_emulation.hpp"),
    ]
    folders = [Path(option[2:]) for option in heeded if option.startswith("-I")]
    library = cache_folder() / f"{_digest(source, command, folders)}.so"
    if not library.exists():
        _build(source, command, library)
    return library


def source_line(library: Path, offset: int) -> str:
    """`file:line` of an instruction of a library, or nothing where binutils is missing."""
    program = shutil.which("addr2line")
    if not program or not offset:
        return ""
    done = subprocess.run([program, "-e", str(library), hex(offset)], capture_output=True, text=True, check=False)
    place = done.stdout.strip().partition(" ")[0]
    return "" if place.startswith("?") or place.endswith("?") else Path(place).name


def _find_compiler() -> str:
    named = os.environ.get("CXX", "g++")
    found = shutil.which(named)
    if found is None:
        raise CompileError(
            f"the emulation of CUDA needs a C++17 compiler; {named!r} is not on PATH (Debian: apt install g++; "
            "another compiler: set CXX)"
        )
    return found


def _digest(source: str, command: Sequence[str], folders: Sequence[Path]) -> str:
    """Hash of all that goes into a library: the source, the command, the compiler, every header within reach."""
    digest = hashlib.sha256()
    compiler = os.stat(command[0])
    parts = [source, *command, str(compiler.st_size), str(compiler.st_mtime_ns)]
    for folder in (INCLUDE, INCLUDE / "emulation", *folders):
        for pattern in HEADERS:
            parts += [f"{path}\n{path.read_text()}" for path in sorted(folder.glob(pattern))]
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:24]


def _build(source: str, command: Sequence[str], library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as work:
        text, made = Path(work) / "module.cpp", Path(work) / "module.so"
        text.write_text(source)
        done = subprocess.run(
            [*command, str(text), "-o", str(made), *LINKED], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CompileError(f"{Path(command[0]).name} refuses the source:\n{_first_errors(done.stderr)}")
        os.replace(made, library)  # whole or not at all, whoever else builds it now


def _first_errors(log: str, most: int = 40) -> str:
    lines = log.splitlines()
    left = len(lines) - most
    return "\n".join(lines[:most] + ([f"... and {left} more lines"] if left > 0 else []))


def load_library(path: Path) -> ctypes.CDLL:
    """Open a compiled module; its symbols are its own."""
    return ctypes.CDLL(str(path), mode=os.RTLD_LOCAL | os.RTLD_NOW)
