"""Runs cases: every provider through the gate, then samples turn by turn, then a row for each."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .case import Case
from .draws import Draws
from .gate import Subject, gate
from .providers import Provider
from .roofline import Roofline
from .rows import Plan, Row, base_row, rates, timed_row, what_went_wrong
from .sampling import Taken, take_turns
from .watch import HELD, Watch

COPIES = 6  # of a case's arrays that checks and rolled inputs need besides those of each provider


def run_case(case: Case, providers: Sequence[Provider], plan: Plan, roofline: Roofline) -> Iterator[Row]:
    """One row for each provider: with times ("ok"), without ("fail", "error", "skip") and why."""
    if reason := too_much(case, providers, plan, roofline):
        yield from (base_row(case, p, plan, "skip", reason) for p in providers)
        return
    draws, watches = draws_of(case, plan), dict[str, Watch]()
    for provider in providers:
        try:
            subject = Subject(draws, provider.library, provider.function(case))
            gate(subject)
            watches[provider.name] = Watch(subject, plan.cold)
        except Exception as error:
            yield base_row(case, provider, plan, *what_went_wrong(error))
    taken = take_turns({name: watch.sample for name, watch in watches.items()}, plan.rule)
    for provider in providers:
        if provider.name in watches:
            yield _judged(provider, plan, roofline, watches.pop(provider.name), taken[provider.name])


def too_much(case: Case, providers: Sequence[Provider], plan: Plan, roofline: Roofline) -> str | None:
    """Why a case cannot be run here: its arrays, or attention's logits written out, or the time of a call."""
    flops, size = case.costs(plan.dtype)
    held = HELD * math.prod(case.result_shape) * np.dtype(plan.dtype).itemsize
    need = size * (len(providers) + COPIES) + held + 12 * case.logits
    free = min((n for p in providers if (n := p.library.free_memory()) is not None), default=None)
    if free is not None and need > free:
        return f"it needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
    if not plan.has_time_for(seconds := roofline.seconds(flops, size)):
        return f"a call would take {seconds:.1f} s at best, and the budget is {plan.rule.budget:g} s: raise --budget"
    return None


def draws_of(case: Case, plan: Plan) -> Draws:
    """Inputs from a stream of random numbers that is the same for all providers of a case."""
    return Draws(case, plan.dtype, np.random.default_rng([plan.seed, zlib.crc32(f"{case.id} {plan.dtype}".encode())]))


def _judged(provider: Provider, plan: Plan, roofline: Roofline, watch: Watch, taken: Taken | Exception) -> Row:
    """The row of a provider whose samples are taken; it still has to be right to the end."""
    subject, case = watch.subject, watch.subject.case
    try:
        if isinstance(taken, Exception):
            raise taken
        watch.finish()
        memory = provider.library.peak_memory(subject.call)
    except Exception as error:
        return base_row(case, provider, plan, *what_went_wrong(error))
    return {
        **base_row(case, provider, plan, "ok"),
        **timed_row(taken, rates(*case.costs(plan.dtype), roofline, float(np.median(taken.samples)))),
        "first_call_s": subject.first_call_s,
        "peak_memory": memory,
        "error_of_allowed": subject.ratio,
        "inputs": _hash(subject.draws),
    }


def _hash(draws: Draws) -> str:
    """Of the first inputs that every provider got."""
    digest = hashlib.blake2b(digest_size=8)
    for arg in draws.first:
        for x in arg.values() if isinstance(arg, Mapping) else [arg]:
            digest.update(x.tobytes() if isinstance(x, np.ndarray) else repr(x).encode())
    return digest.hexdigest()
