"""The checks of one op: its signature, and calls drawn by its strategy in every dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from hypothesis import find
from hypothesis.errors import HypothesisException

from ...ops import HALF, PRIMITIVES
from ..drawing import quiet
from ..running import arrays_in, map_arrays
from ..strategies import Call
from ..table import DTYPES, OpCase
from .checks import ASPECTS, Failure, Settings, checks_in, needing
from .drawn import drawn_calls, expected_of
from .expected import expect
from .observe import Expected, Observation, observe
from .repro import repro, signature_repro
from .signatures import wrong_signature
from .target import Target

CLOSELY = 40  # moves of the inputs before values that are nearly right are called wrong
SHRINKS = 80  # calls that may be tried to make a failing one small
FEW = {"compile": 2}  # compilers take seconds for each new shape
ENOUGH = 30  # calls among which there is one in every dtype
SLOW = ("compile", "value_and_grad")  # their calls are shown as drawn, which is small
ARITHMETIC = ("add", "subtract", "multiply", "divide", "pow", "maximum", "equal", "less")


@dataclass(frozen=True)
class OpGroup:
    """An op and its entry in the table."""

    case: OpCase

    @property
    def name(self) -> str:
        """ops/<op>."""
        return f"ops/{self.case.name}"

    def dtypes(self, wanted: Iterable[str]) -> list[str]:
        """Those of the wanted dtypes in which the op is defined."""
        return [dtype for dtype in wanted if dtype in self.case.dtypes]

    def checks(self, dtypes: Iterable[str]) -> list[str]:
        """The signature, and every aspect in every dtype."""
        return [f"{self.name}/signature", *checks_in(self.name, self.dtypes(dtypes))]

    def run(self, target: Target, settings: Settings) -> dict[str, Failure]:
        """Look at drawn calls, then make one failing call of each check small and show it."""
        name = self.case.name
        failures: dict[str, Failure] = {}
        if wrong := wrong_signature(type(target.ops), name):
            failures[f"{self.name}/signature"] = Failure(wrong, signature_repro(target, name))
            if name in PRIMITIVES and "not implemented" in wrong:
                checks = checks_in(self.name, self.dtypes(settings.dtypes))
                return failures | dict.fromkeys(checks, needing(f"{self.name}/signature"))
        seen = _Search(target, self.case, self.dtypes(settings.dtypes))
        seen.look(FEW.get(name, settings.examples))
        return failures | dict(seen.failures(name not in SLOW))


@dataclass
class _Search:
    """Calls of one op that went wrong, by dtype and aspect."""

    target: Target
    case: OpCase
    dtypes: list[str]
    kept: dict[tuple[str, str], Call] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)
    lacks: dict[str, str] = field(default_factory=dict)
    simplest: Call | None = None

    def look(self, examples: int) -> None:
        """Judge the drawn calls; keep the first that fails in each dtype and aspect."""
        calls = drawn_calls(self.case.name, examples)
        self.simplest = calls[0]
        for number, call in enumerate(calls):
            for dtype in self.dtypes:
                if not self.outside(call, dtype):
                    self.judge(call, dtype, expected_of(self.case.name, examples, number, dtype))
        for dtype in set(self.dtypes) - self.tried:  # of few calls, all may be outside
            inside = (call for call in drawn_calls(self.case.name, ENOUGH) if not self.outside(call, dtype))
            for call in islice(inside, 1):
                self.judge(call, dtype)

    def judge(self, call: Call, dtype: str, expected: list[Expected] | None = None) -> None:
        """Judge one call; keep it if it is the first that fails in an aspect."""
        self.tried.add(dtype)
        for aspect in self.wrong(call, dtype, expected):
            self.kept.setdefault((dtype, aspect), call)

    def wrong(self, call: Call, dtype: str, expected: list[Expected] | None = None) -> dict[str, str]:
        """What is wrong with one call, by aspect; remembers whether it ran at all."""
        expected = expect(self.case, call, dtype) if expected is None else expected
        seen = self.observe(call, dtype, expected)
        if "values" in seen.wrong and not self.is_far_off(call, dtype, expected):
            seen = self.observe(call, dtype, expect(self.case, call, dtype, CLOSELY))
        if seen.lacks:
            self.lacks[dtype] = seen.lacks
        elif "runs" not in seen.wrong:
            self.ran.add(dtype)
        return seen.wrong

    def observe(self, call: Call, dtype: str, expected: list[Expected]) -> Observation:
        """Make the call."""
        return observe(self.target.ops, self.case.name, call, dtype, expected)

    def is_far_off(self, call: Call, dtype: str, expected: list[Expected]) -> bool:
        """Whether no closer look at the rounding can excuse the values."""
        generous = [replace(want, limit=10 * want.limit) for want in expected]
        return "values" in self.observe(call, dtype, generous).wrong

    def outside(self, call: Call, dtype: str) -> bool:
        """Whether the call asks for what need not be there.

        That is a dtype by name that is not under test, and half precision beside a Python number: no dtype is promised.
        """
        if any(arg in DTYPES and arg not in self.dtypes for arg in call.args if isinstance(arg, str)):
            return True
        numbers = any(isinstance(x, int | float) for x in call.args)
        return numbers and dtype in HALF and self.case.name in ARITHMETIC

    def failures(self, shrink: bool) -> Iterator[tuple[str, Failure]]:
        small: dict[str, Call] = {}
        for dtype in self.dtypes:
            for aspect in ASPECTS:
                check = f"ops/{self.case.name}/{dtype}/{aspect}"
                if (dtype, aspect) in self.kept:
                    call = self.kept[dtype, aspect]
                    call = small[aspect] = self.small(call, small.get(aspect), dtype, aspect) if shrink else call
                    yield check, self.failure(call, dtype, aspect)
                elif dtype in self.lacks and aspect == "runs":
                    yield check, needing(f"ops/{self.lacks[dtype]}/signature")
                elif dtype not in self.tried and aspect == "runs":
                    yield check, Failure(f"no call in {dtype} was drawn, so nothing is known")
                elif dtype not in self.ran and aspect != "runs":
                    yield check, needing(f"ops/{self.case.name}/{dtype}/runs")

    def failure(self, call: Call, dtype: str, aspect: str) -> Failure:
        expected = expect(self.case, call, dtype, CLOSELY)
        wrong = self.observe(call, dtype, expected).wrong
        message = wrong.get(aspect, "failed once and not again: the backend is not deterministic")
        return Failure(message, repro(self.target, self.case.name, call, dtype, aspect, expected))

    def small(self, call: Call, before: Call | None, dtype: str, aspect: str) -> Call:
        """Return a call that fails alike: that of another dtype if it does, else the smallest to be found."""
        found = [call]
        left = SHRINKS

        def fails(candidate: Call) -> bool:
            nonlocal left
            left -= 1
            failed = not self.outside(candidate, dtype) and aspect in self.wrong(candidate, dtype)
            found.extend([candidate] if failed else [])
            return failed

        if before is not None and fails(before):
            return before
        if call is not self.simplest:
            with suppress(HypothesisException):  # not found again, or a backend that fails now and then
                find(self.case.calls, lambda candidate: left > 0 and fails(candidate), settings=quiet(SHRINKS))
        smallest = min(found, key=_elements)
        return next((simpler for simpler in _simpler(smallest) if fails(simpler)), smallest)


def _elements(call: Call) -> int:
    return sum(x.size for x in arrays_in(list(call.args)))


def _simpler(call: Call) -> Iterator[Call]:
    """The same call with plainer memory layout and shorter numbers, plainest first."""
    for layout in dict.fromkeys(("plain", call.layout)):
        for digits in (0, 1, 2):
            rounded = tuple(map_arrays(_rounder(digits), arg) for arg in call.args)
            yield replace(call, args=rounded, layout=layout)
        yield replace(call, layout=layout)


def _rounder(digits: int) -> Callable[[Any], Any]:
    def short(x: Any) -> Any:
        if x.dtype.kind != "f" or not np.isfinite(x).all():
            return x
        for places in range(digits, 6):
            y = np.round(x, places)
            if ((y == 0) == (x == 0)).all():  # a zero may be outside an op's domain
                return y
        return x

    return short
