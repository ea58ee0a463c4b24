"""`python -m opensora_kernels.gate`: compile kernels for GPUs that are not here, and hold them to a budget."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterator, Sequence

from .budget import FILE, PYTHON_FILE, Budget
from .instantiations import HEAD_DIMS, instantiations
from .nvrtc import CompilerMissingError
from .report import ARCHS, Report, compile_kernels

LANGUAGES = {"cuda": FILE, "python": PYTHON_FILE}  # and the budgets of their kernels
NO_NUMBA = (
    "the kernels in Python need numba-cuda: pip install 'opensora-core[cuda-numba]', or leave them: --language cuda"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for every kernel and GPU, then the faults; returns 1 if there are any."""
    options = _parser().parse_args(argv)
    faults = list[str]()
    print(f"{'arch':<6}{'registers':>9}{'stack':>7}{'spilled':>9}{'mma':>6}  kernel")
    for language in options.language:
        budget = Budget.load(LANGUAGES[language])
        for report in _in_cuda(options) if language == "cuda" else _in_python(options):
            if options.write:
                budget.record(report)
            faults += budget.judge([report])
            print(_row(report), flush=True)
        if options.write:
            budget.save(LANGUAGES[language])
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _in_cuda(options: argparse.Namespace) -> Iterator[Report]:
    """Reports on the kernels in CUDA C++ that are asked for."""
    wanted = [one for one in instantiations(tuple(options.head_dims)) if options.only in f"{one.file} {one.name}"]
    for arch in options.arch:
        yield from compile_kernels(wanted, arch)


def _in_python(options: argparse.Namespace) -> Iterator[Report]:
    """Reports on the kernels in Python, on the same GPUs without what is special to them."""
    if importlib.util.find_spec("numba_cuda") is None:
        raise CompilerMissingError(NO_NUMBA, name="numba_cuda")
    from .python_kernels import compile_python, python_kernels  # Numba compiles only in a process that asks for it

    wanted = [one for one in python_kernels() if options.only in f"{one.file} {one.name}"]
    for arch in options.arch:
        yield from compile_python(wanted, arch.removesuffix("a"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m opensora_kernels.gate", description=__doc__)
    parser.add_argument("--language", nargs="+", default=[*LANGUAGES], choices=LANGUAGES, help="default: both")
    parser.add_argument("--arch", nargs="+", default=ARCHS, choices=ARCHS, help="GPUs by compute capability")
    parser.add_argument("--head-dims", nargs="+", type=int, default=HEAD_DIMS, metavar="D", help="of those in CUDA C++")
    parser.add_argument("--only", default="", metavar="TEXT", help="kernels with this in their file or name")
    parser.add_argument("--write", action="store_true", help="record the registers in the budgets")
    return parser


def _row(report: Report) -> str:
    return (
        f"{report.arch:<6}{report.registers:>9}{report.stack:>7}{report.spilled:>9}{report.mma:>6}  "
        f"{report.file} {report.name}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CompilerMissingError as error:
        sys.exit(str(error))
