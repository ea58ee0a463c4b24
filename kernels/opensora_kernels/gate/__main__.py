"""`python -m opensora_kernels.gate`: compile kernels for GPUs that are not here, and hold them to a budget."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .budget import Budget
from .instantiations import HEAD_DIMS, instantiations
from .nvrtc import NvrtcMissingError
from .report import ARCHS, Report, compile_kernels


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for every kernel and GPU, then the faults; returns 1 if there are any."""
    options = _parser().parse_args(argv)
    wanted = [one for one in instantiations(tuple(options.head_dims)) if options.only in f"{one.file} {one.name}"]
    budget, faults = Budget.load(), list[str]()
    print(f"{'arch':<6}{'registers':>9}{'stack':>7}{'spilled':>9}{'mma':>6}  kernel")
    for arch in options.arch:
        for report in compile_kernels(wanted, arch):
            if options.write:
                budget.record(report)
            faults += budget.judge([report])
            print(_row(report), flush=True)
    if options.write:
        budget.save()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m opensora_kernels.gate", description=__doc__)
    parser.add_argument("--arch", nargs="+", default=ARCHS, choices=ARCHS, help="GPUs by compute capability")
    parser.add_argument("--head-dims", nargs="+", type=int, default=HEAD_DIMS, metavar="D", help="default: %(default)s")
    parser.add_argument("--only", default="", metavar="TEXT", help="kernels with this in their file or name")
    parser.add_argument("--write", action="store_true", help="record the registers in budget.json")
    return parser


def _row(report: Report) -> str:
    return (
        f"{report.arch:<6}{report.registers:>9}{report.stack:>7}{report.spilled:>9}{report.mma:>6}  "
        f"{report.file} {report.name}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NvrtcMissingError as error:
        sys.exit(str(error))
