"""The suite bites: every seeded fault is caught by the check meant for it, and shown in lines that reproduce it."""

import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.testing.conformance import conformance

from .faults import FAULTS


def run(backend, check):
    """The suite up to the level of a check, on its subject alone and in its dtype."""
    level, subject, *rest = check.split("/")
    dtypes = rest[:1] if len(rest) == 2 else ["bfloat16"]
    return conformance(backend, level, only=f"{level}/{subject}", dtypes=dtypes, examples=80)


def test_there_are_many_faults_of_every_kind():
    assert len(FAULTS) >= 45
    caught = {aspect for fault in FAULTS.values() for aspect in fault.aspects}
    assert caught == {"runs", "dtype", "values", "nan", "inputs", "alias", "repeat", "device", "signature", "bits"}


@pytest.mark.filterwarnings("ignore:::")  # what overflows in the faulty ops
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught_and_shown(name):
    backend, caught_by, aspects = FAULTS[name]
    report = run(backend(), caught_by)
    failed = {o.id: o for o in report.failures if o.id.startswith(caught_by.rsplit("/", 1)[0])}
    assert not report.ok
    assert caught_by in failed
    assert {check.rsplit("/", 1)[1] for check in failed} == aspects
    for outcome in failed.values():
        assert outcome.message
        with pytest.raises(Exception):  # noqa: B017, PT011 - what a faulty op raises may be anything
            exec(compile(outcome.repro, outcome.id, "exec"), {"ops": backend()})
        if "recheck" not in outcome.repro:  # those lines also say what is right: they pass on a backend without fault
            exec(compile(outcome.repro, outcome.id, "exec"), {"ops": NumpyOps()})


@pytest.mark.parametrize(
    ("start", "op"), [("attention_of_many", "attention"), ("value_and_grad_leaves", "value_and_grad")]
)
def test_a_fault_that_the_op_alone_does_not_show_is_caught_on_a_higher_level(start, op):
    [(backend, caught_by, _)] = [fault for name, fault in FAULTS.items() if name.startswith(start)]
    assert not caught_by.startswith("ops/")
    assert conformance(backend(), "ops", only=f"ops/{op}", dtypes=["float32"]).ok
