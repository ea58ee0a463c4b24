"""Runs cases: every provider through the gate, then samples turn by turn, then a row for each."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from opensora_core.errors import is_out_of_memory

from .case import Case
from .gate import RefusedError, Subject, gate, judge_last, roll_inputs
from .providers import Provider, UnsupportedError
from .roofline import Roofline
from .sampling import FULL, Rule, Taken, summary, take_turns

Row = dict[str, Any]
COPIES = 4  # of a case's arrays that checks and rolled inputs need besides those of each provider


@dataclass(frozen=True)
class Plan:
    """How cases are run: dtype, stopping rule, whether caches are flushed before each call, the seed of all inputs."""

    dtype: str = "float32"
    rule: Rule = FULL
    cold: bool = True
    seed: int = 0


def run_case(case: Case, providers: Sequence[Provider], plan: Plan, roofline: Roofline) -> Iterator[Row]:
    """One row for each provider: with times ("ok"), without ("fail", "error", "skip") and why."""
    if reason := too_much(case, providers, plan, roofline):
        yield from (_row(case, p, plan, "skip", reason) for p in providers)
        return
    subjects: dict[str, Subject] = {}
    for provider in providers:
        try:
            subject = _subject(case, provider, plan)
            gate(subject)
            subjects[provider.name] = subject
        except Exception as error:
            yield _row(case, provider, plan, *_what_went_wrong(error))
    taken = take_turns({name: _sampler(s, plan.cold) for name, s in subjects.items()}, plan.rule)
    for provider in providers:
        if provider.name in subjects:
            yield _judged(case, provider, plan, roofline, subjects.pop(provider.name), taken[provider.name])


def too_much(case: Case, providers: Sequence[Provider], plan: Plan, roofline: Roofline) -> str | None:
    """Why a case cannot be run here: its arrays, or attention's logits written out, or the time of a call."""
    flops, size = case.costs(plan.dtype)
    need = size * (len(providers) + COPIES) + 12 * case.logits
    free = min((n for p in providers if (n := p.library.free_memory()) is not None), default=None)
    if free is not None and need > free:
        return f"it needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
    if (seconds := roofline.seconds(flops, size)) > plan.rule.budget / 2:
        return f"a call would take {seconds:.1f} s at best, and the budget is {plan.rule.budget:g} s: raise --budget"
    return None


def _subject(case: Case, provider: Provider, plan: Plan) -> Subject:
    """The provider with inputs drawn from a stream that is the same for all providers of a case."""
    rng = np.random.default_rng([plan.seed, zlib.crc32(f"{case.id} {plan.dtype}".encode())])
    return Subject(case, plan.dtype, provider.library, provider.function(case), rng)


def _sampler(subject: Subject, cold: bool) -> Callable[[], float]:
    def sample() -> float:
        subject.result = None  # its memory may be used again
        roll_inputs(subject)
        if cold:
            subject.library.flush()
        seconds, subject.result = subject.library.timed(subject.call)
        return seconds

    return sample


def _judged(
    case: Case, provider: Provider, plan: Plan, roofline: Roofline, subject: Subject, taken: Taken | Exception
) -> Row:
    """The row of a provider whose samples are taken; the last of them still has to be right."""
    try:
        if isinstance(taken, Exception):
            raise taken
        judge_last(subject)
        memory = provider.library.peak_memory(subject.call)
    except Exception as error:
        return _row(case, provider, plan, *_what_went_wrong(error))
    return {
        **_row(case, provider, plan, "ok"),
        **summary(taken.samples),
        **_rates(case, plan.dtype, roofline, float(np.median(taken.samples))),
        "first_call_s": subject.first_call_s,
        "ended": taken.ended,
        "peak_memory": memory,
        "error_of_allowed": subject.ratio,
        "inputs": _hash(case, plan),
        "samples_s": taken.samples,
    }


def _row(case: Case, provider: Provider, plan: Plan, status: str, reason: str | None = None) -> Row:
    return {
        "suite": case.suite, "case": case.id, "op": case.op, "shape": case.shape, "dtype": plan.dtype,
        "provider": provider.name, "device": provider.library.device_name or "cpu",
        "cache": "cold" if plan.cold else "warm", "flushed_bytes": provider.library.flush_bytes if plan.cold else 0,
        "clock": provider.library.clock, "status": status, "reason": reason,
    }  # fmt: skip


def _rates(case: Case, dtype: str, roofline: Roofline, seconds: float) -> Row:
    flops, size = case.costs(dtype)
    return {
        "flops": flops, "bytes": size, "intensity": flops / size, "tflops": flops / seconds / 1e12,
        "gbs": size / seconds / 1e9, "roofline_share": roofline.seconds(flops, size) / seconds,
        "bound": roofline.bound(flops, size),
    }  # fmt: skip


def _what_went_wrong(error: Exception) -> tuple[str, str]:
    """Status and reason of a provider that gets no time."""
    if isinstance(error, RefusedError):
        return "fail", str(error)
    if isinstance(error, UnsupportedError):
        return "skip", str(error)
    first = str(error).strip().partition("\n")[0]
    if is_out_of_memory(error):
        return "skip", f"out of memory ({first})"
    return "error", f"{type(error).__name__}: {first}"[:300]


def _hash(case: Case, plan: Plan) -> str:
    """Of the first inputs that every provider got."""
    rng = np.random.default_rng([plan.seed, zlib.crc32(f"{case.id} {plan.dtype}".encode())])
    digest = hashlib.blake2b(digest_size=8)
    for arg in case.draw(plan.dtype, rng):
        for x in arg.values() if isinstance(arg, Mapping) else [arg]:
            digest.update(x.tobytes() if isinstance(x, np.ndarray) else repr(x).encode())
    return digest.hexdigest()
