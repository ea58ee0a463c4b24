"""What kernels may cost, and what a compiled one is held to.

`budget.json` beside this file has what was measured, for each kernel and GPU, and the exceptions with their reasons;
`budget_python.json` has the same of the kernels in Python.
`python -m opensora_kernels.gate --write` rewrites the measurements.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .report import Report

FILE = Path(__file__).parent / "budget.json"
PYTHON_FILE = Path(__file__).parent / "budget_python.json"
ON_TENSOR_CORES = (
    *("flash_attention<", "temporal_attention<", "attention_backward<"),
    *("conv3d<__half", "conv3d<__nv_bfloat16"),
)


@dataclass(frozen=True)
class Allowed:
    """An exception: a kernel that may use this much local memory on a GPU, and why."""

    name: str
    arch: str
    stack: int
    spilled: int
    reason: str


@dataclass
class Budget:
    """registers: of a kernel's thread, by name and GPU, as measured."""

    registers: dict[str, dict[str, int]] = field(default_factory=dict)
    exceptions: list[Allowed] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path = FILE) -> Budget:
        """Read what `save` wrote."""
        data = json.loads(path.read_text())
        return cls(data["registers"], [Allowed(**one) for one in data["exceptions"]])

    def save(self, path: Path = FILE) -> None:
        """Write as JSON, ordered by name."""
        registers = {name: dict(sorted(by_arch.items())) for name, by_arch in sorted(self.registers.items())}
        rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(by_arch)}" for name, by_arch in registers.items())
        exceptions = ",\n".join(f"    {json.dumps(asdict(one))}" for one in self.exceptions)
        text = f'{{\n  "registers": {{\n{rows}\n  }},\n  "exceptions": [\n{exceptions}\n  ]\n}}\n'
        path.write_text(text)

    def record(self, report: Report) -> None:
        """Take over what was measured."""
        self.registers.setdefault(report.name, {})[report.arch] = report.registers

    def faults(self, report: Report) -> Iterator[str]:
        """What is wrong with a kernel, one line each."""
        allowed = next((one for one in self.exceptions if (one.name, one.arch) == (report.name, report.arch)), None)
        stack, spilled = (allowed.stack, allowed.spilled) if allowed else (0, 0)
        if report.spilled > spilled:
            yield f"spills registers: {report.spilled} bytes stored and read, {spilled} allowed"
        if report.stack > stack:
            yield f"uses {report.stack} bytes of local memory a thread, {stack} allowed"
        recorded = self.registers.get(report.name, {}).get(report.arch)
        if recorded is None:
            yield "has no recorded number of registers: record it with --write"
        elif report.registers > recorded:
            yield f"uses {report.registers} registers, {recorded} recorded; if that is meant, record it with --write"
        if report.name.startswith(ON_TENSOR_CORES) and not report.mma:
            yield "has no tensor-core instruction"
        yield from report.remarks

    def judge(self, reports: Iterable[Report]) -> list[str]:
        """All faults, each with its kernel and GPU."""
        return [f"{report.name} on sm_{report.arch} {fault}" for report in reports for fault in self.faults(report)]
