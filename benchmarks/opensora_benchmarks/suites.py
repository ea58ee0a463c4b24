"""All cases, and those that a pattern names."""

from __future__ import annotations

import difflib
import fnmatch

from opensora_core.errors import InvalidInputError

from .case import Case
from .suite_block import block_cases
from .suite_io import io_workloads
from .suite_mmdit import mmdit_cases
from .suite_model import model_cases
from .suite_op import op_cases
from .suite_pipeline import pipeline_workloads
from .suite_training import training_workloads
from .workload import Workload


def all_cases() -> list[Case]:
    """Every case of an op, a block or a model."""
    return [*op_cases(), *block_cases(), *mmdit_cases(), *model_cases()]


def all_workloads() -> list[Workload]:
    """Everything that is timed as a whole: generation, training, files."""
    return [*pipeline_workloads(), *training_workloads(), *io_workloads()]


def select(pattern: str, quick: bool = False) -> list[Case | Workload]:
    """Cases whose id a glob matches; an op's name alone means all of its cases. quick: only the small ones.

    Raises InvalidInputError if there is none, naming what is near.
    """
    cases = [*all_cases(), *all_workloads()]
    chosen = [c for c in cases if fnmatch.fnmatch(c.id, pattern) or c.op == pattern]
    if not chosen:
        known = sorted({c.op for c in cases})
        names = [f"{op}/*" for op in known] + [c.id for c in cases]
        near = difflib.get_close_matches(pattern, names, 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise InvalidInputError(
            f"no case matches {pattern!r}{hint} (ops: {', '.join(known)}); `opensora bench list` shows all"
        )
    small = [c for c in chosen if c.quick or not quick]
    if not small:
        names = ", ".join(c.id for c in chosen[:5])
        raise InvalidInputError(f"--quick runs small cases only, and none of {names} is one: leave it out")
    return small
