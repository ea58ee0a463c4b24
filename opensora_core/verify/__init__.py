"""Check a backend against golden numbers: inputs and outputs recorded from the official Open-Sora implementation.

from opensora_core.verify import verify
report = verify("tests/golden", backend="torch", dtype="float32")
print(report.table())
"""

from .golden import GoldenSet, find_golden_sets
from .report import Check, Report
from .runner import KINDS, check_set, verify

__all__ = ["KINDS", "Check", "GoldenSet", "Report", "check_set", "find_golden_sets", "verify"]
