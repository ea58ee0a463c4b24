"""Runs cases: every provider through the gate, then samples turn by turn, then a row for each."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from .case import Case
from .gate import Subject, gate, judge_last, roll_inputs
from .providers import Provider
from .roofline import Roofline
from .rows import Plan, Row, base_row, rates, timed_row, what_went_wrong
from .sampling import Taken, take_turns

COPIES = 4  # of a case's arrays that checks and rolled inputs need besides those of each provider


def run_case(case: Case, providers: Sequence[Provider], plan: Plan, roofline: Roofline) -> Iterator[Row]:
    """One row for each provider: with times ("ok"), without ("fail", "error", "skip") and why."""
    if reason := too_much(case, providers, plan, roofline):
        yield from (base_row(case, p, plan, "skip", reason) for p in providers)
        return
    subjects: dict[str, Subject] = {}
    for provider in providers:
        try:
            subject = subject_of(case, provider, plan)
            gate(subject)
            subjects[provider.name] = subject
        except Exception as error:
            yield base_row(case, provider, plan, *what_went_wrong(error))
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
    if not plan.has_time_for(seconds := roofline.seconds(flops, size)):
        return f"a call would take {seconds:.1f} s at best, and the budget is {plan.rule.budget:g} s: raise --budget"
    return None


def subject_of(case: Case, provider: Provider, plan: Plan) -> Subject:
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
        return base_row(case, provider, plan, *what_went_wrong(error))
    return {
        **base_row(case, provider, plan, "ok"),
        **timed_row(taken, rates(*case.costs(plan.dtype), roofline, float(np.median(taken.samples)))),
        "first_call_s": subject.first_call_s,
        "peak_memory": memory,
        "error_of_allowed": subject.ratio,
        "inputs": _hash(case, plan),
    }


def _hash(case: Case, plan: Plan) -> str:
    """Of the first inputs that every provider got."""
    rng = np.random.default_rng([plan.seed, zlib.crc32(f"{case.id} {plan.dtype}".encode())])
    digest = hashlib.blake2b(digest_size=8)
    for arg in case.draw(plan.dtype, rng):
        for x in arg.values() if isinstance(arg, Mapping) else [arg]:
            digest.update(x.tobytes() if isinstance(x, np.ndarray) else repr(x).encode())
    return digest.hexdigest()
