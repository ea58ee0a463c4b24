"""The conformance suite itself: what it says of backends that are wrong, its lists, its reports."""

import inspect
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core import Ops
from opensora_core.errors import InvalidInputError, MissingDependencyError
from opensora_core.ops import FUSED, PRIMITIVES
from opensora_core.testing.conformance import (
    ASPECTS,
    LEVELS,
    conformance,
    conformance_tests,
    groups,
    junit_xml,
    must_run,
    open_target,
    recheck,
    require,
    wrong_signature,
)
from opensora_core.testing.conformance.checks import Settings
from opensora_core.testing.conformance.drawn import drawn_calls
from opensora_core.testing.conformance.observe import VIEWS
from opensora_core.testing.conformance.op_group import ENOUGH, _Search
from opensora_core.testing.conformance.suite import Suite
from opensora_core.testing.conformance.xfail import read_xfails
from opensora_core.testing.running import arrays_in
from opensora_core.testing.table import TABLE

ROOT = Path(__file__).resolve().parents[2]
PATHS = {"PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}:{ROOT / 'kernels'}", "OMP_NUM_THREADS": "1"}
WRONG = "ops/silu/float32/values"
KNOWN = [check for level in groups().values() for group in level for check in group.checks(["float32"])]


class Wrong(NumpyOps):
    """Has a SiLU of twice the size."""

    def silu(self, x):
        return super().silu(x) + super().silu(x)


def silu(target=Wrong, **options):
    return conformance(target, "ops", only="ops/silu", **{"dtypes": ["float32"], **options})


# ---------------------------------------------------------------------- what is checked


def test_every_op_is_checked_and_every_check_has_a_name_of_its_own():
    ops = [group.name.removeprefix("ops/") for group in groups()["ops"]]
    assert set(ops) == {*PRIMITIVES, *FUSED, "host_noise"}
    assert len(KNOWN) == len(set(KNOWN))
    assert {f"ops/softmax/float32/{aspect}" for aspect in ASPECTS} < set(KNOWN)
    assert [level for level in LEVELS if not groups()[level]] == []


def test_ops_that_may_return_views_say_so():
    for name in PRIMITIVES:
        assert (name in VIEWS) == ("view" in inspect.getdoc(getattr(Ops, name))), name


def test_calls_are_the_same_in_every_run_different_and_mostly_not_trivial():
    for op in ("reshape", "softmax", "attention"):
        calls, again = (drawn_calls.__wrapped__(op, 30) for _ in range(2))
        keys = [[x.tobytes() for x in arrays_in(list(call.args))] for call in calls]
        assert keys == [[x.tobytes() for x in arrays_in(list(call.args))] for call in again]
        assert len(calls) == 30
        assert sum(max(x.size for x in arrays_in(list(call.args))) < 2 for call in calls) <= 7


def test_signatures_are_compared_by_names_kinds_and_defaults_not_by_annotations():
    class Plain(NumpyOps):
        def rms_norm(self, x, weight, eps=1e-6):
            return x

        def gelu(self, x, approx="tanh"):
            return x

        softmax = None

    assert wrong_signature(Plain, "rms_norm") is None
    assert "gelu(self, x, approx='tanh') must be gelu(self, x, approximate='tanh')" in wrong_signature(Plain, "gelu")
    assert wrong_signature(Plain, "softmax") == "softmax is None, not a method"
    assert wrong_signature(Ops, "erf") == "the primitive erf is not implemented"


# ---------------------------------------------------------------------- backends that are wrong


def test_a_backend_with_nothing_in_it_gets_a_line_for_every_op():
    report = conformance(Ops, "train", dtypes=["float32"])
    lacking = {o.id for o in report.failures}
    assert lacking >= {f"ops/{name}/signature" for name in PRIMITIVES}
    assert {o.status for o in report.outcomes if o.id.startswith(("blocks/", "model/", "train/"))} == {"blocked"}
    assert all("needs ops/" in o.message for o in report.outcomes if o.id == "ops/softmax/float32/values")
    assert {name for name, verdict, *_ in report.rows() if verdict == "fail"} >= {f"ops/{name}" for name in PRIMITIVES}


def test_a_backend_that_always_raises_is_reported_not_raised():
    class Broken(NumpyOps):
        def asarray(self, x, dtype=None):
            raise ZeroDivisionError("no arrays today")

    report = conformance(Broken, "ops", only="/lo", dtypes=["float32"])
    assert not report.ok
    message = next(o.message for o in report.outcomes if o.id == "ops/log/float32/runs")
    assert message.startswith("ZeroDivisionError: no arrays today (in test_suite.py:")
    assert next(o for o in report.outcomes if o.id == "ops/log/float32/nan").status == "blocked"
    noise = conformance(Broken, "ops", only="noise")
    assert [(o.status, o.message) for o in noise.outcomes] == [("fail", "ZeroDivisionError: no arrays today")]


class NoErf(NumpyOps):
    """Lacks a primitive that one form of GELU needs."""

    erf = Ops.erf


def test_a_lacking_primitive_blocks_what_needs_it_and_nothing_else():
    report = conformance(NoErf, "ops", only="ops/", dtypes=["float32"])
    assert [o.id for o in report.failures] == ["ops/erf/signature"]
    blocked = [o.id for o in report.outcomes if o.status == "blocked"]
    assert blocked == [*(f"ops/erf/float32/{aspect}" for aspect in ASPECTS), "ops/gelu/float32/runs"]


def test_what_a_check_needs_must_fail_where_it_is_seen():
    gelu = {"only": "ops/gelu", "dtypes": ["float32"]}
    alone = conformance(NoErf, "ops", **gelu)
    assert [(o.id, o.status) for o in alone.failures] == [("ops/gelu/float32/runs", "fail")]
    assert "needs ops/erf/signature, which fails and is no part of this run" in alone.failures[0].message
    listed = conformance(NoErf, "ops", xfail={"ops/erf/signature": "no erf"}, **gelu)
    assert (listed.ok, listed.counts) == (True, {"pass": 8, "blocked": 1})

    class NoAsarray(NumpyOps):
        asarray = Ops.asarray

    report = conformance(NoAsarray, "ops", only="ops/exp", dtypes=["float32"])
    assert (report.ok, report.counts) == (False, {"pass": 1, "fail": 1, "blocked": 7})
    encoder = conformance(NoErf, "blocks", only="text_encoder", dtypes=["float32"])
    assert encoder.ok  # the tanh form needs no erf


def test_a_blocked_check_shows_in_pytest():
    test = conformance_tests(NoErf, level="ops", only="ops/gelu", dtypes=["float32"])
    with pytest.raises(pytest.fail.Exception, match="ops/erf/signature, which fails and is no part of this run"):
        test("ops/gelu")
    known = {"ops/erf/signature": "no erf"}
    test = conformance_tests(NoErf, level="ops", only="ops/gelu", dtypes=["float32"], xfail=known)
    with pytest.raises(pytest.skip.Exception, match="1 of 9 checks could not be judged, first ops/gelu/float32/runs"):
        test("ops/gelu")


def test_every_dtype_is_tried_however_few_calls_are_drawn():
    for only in ("ops/subtract", "ops/pow"):
        assert conformance("numpy", "ops", only=only, examples=1).counts.keys() == {"pass"}
    for name, case in TABLE.items():
        for dtype in case.dtypes:
            search = _Search(open_target("numpy"), case, [dtype])
            assert not all(search.outside(call, dtype) for call in drawn_calls(name, ENOUGH)), (name, dtype)


def test_an_op_that_ends_the_program_is_reported():
    class Exits(NumpyOps):
        def exp(self, x):
            raise SystemExit(0)

        def asarray(self, x, dtype=None):
            if dtype is not None:
                raise SystemExit("enough")
            return super().asarray(x, dtype)

    report = conformance(Exits, "ops", only="ops/exp", dtypes=["float32"])
    assert [o.id for o in report.failures] == ["ops/exp/float32/runs"]
    assert report.failures[0].message.startswith("SystemExit: 0 (in test_suite.py:")
    noise = conformance(Exits, "ops", only="noise")
    assert [o.message for o in noise.failures] == ["SystemExit: enough"]


def test_a_failure_blocks_the_levels_above_it():
    suite = Suite(open_target(Wrong), Settings(3, ("float32",)))
    low = [g for g in groups()["ops"] if g.name == "ops/silu"]
    high = [g for level in ("blocks", "train") for g in groups()[level][:1]]
    statuses = {o.status: o.message for g in high for o in suite.run(g, [*low, *high])}
    assert set(statuses) == {"blocked"}
    assert statuses["blocked"] == f"blocked by {WRONG}"


def test_what_is_asked_for_must_exist():
    with pytest.raises(InvalidInputError, match="level='all' is not one of ops, blocks, model, train"):
        conformance("numpy", "all")
    with pytest.raises(InvalidInputError, match="dtype='int8' is not one of"):
        conformance("numpy", dtypes=["int8"])
    with pytest.raises(InvalidInputError, match="'ops/gelo' is part of no name"):
        conformance("numpy", only="ops/gelo")
    with pytest.raises(InvalidInputError, match="'ops/gelo' is part of no name"):
        conformance_tests("numpy", only="ops/gelo")
    with pytest.raises(InvalidInputError, match=r"no backend 'tapes'; did you mean 'tape'\?"):
        conformance("tapes")
    with pytest.raises(InvalidInputError, match="cannot test 3"):
        conformance(3)
    with pytest.raises(InvalidInputError, match="examples=0"):
        silu(examples=0)


def test_a_class_that_cannot_be_made_is_an_error_that_names_it():
    class Needy(NumpyOps):
        def __init__(self, key):
            super().__init__()

    with pytest.raises(InvalidInputError, match="'Needy' cannot be made: TypeError"):
        conformance(Needy)

    class Silent(NumpyOps):
        def __init__(self):
            pass

    for target in (Silent, Silent()):
        with pytest.raises(InvalidInputError, match=r"'Silent' has no \.device"):
            conformance(target)


@pytest.mark.parametrize("command", [["script.py"], ["-c", "exec(open('script.py').read())"]])
def test_a_class_of_a_script_is_tested(tmp_path, command):
    (tmp_path / "script.py").write_text(f"""
from opensora_core.testing.conformance import conformance
from opensora_backends.numpy_ops import NumpyOps

{inspect.getsource(Wrong)}

[failure] = conformance(Wrong, "ops", only="ops/silu", dtypes=["float32"], examples=2).failures
assert "# ops: a Wrong()" in failure.repro, failure.repro
""")
    run = [sys.executable, *command]
    out = subprocess.run(run, cwd=tmp_path, env=PATHS, capture_output=True, text=True, timeout=120, check=False)
    assert out.returncode == 0, out.stderr


# ---------------------------------------------------------------------- repros


def test_a_failure_is_shown_in_lines_to_paste(tmp_path, monkeypatch):
    (tmp_path / "my_pkg.py").write_text(
        inspect.getsource(Wrong).replace("class", "from opensora_backends.numpy_ops import NumpyOps\n\nclass")
    )
    monkeypatch.syspath_prepend(tmp_path)
    [outcome] = silu("my_pkg:Wrong").failures
    assert "ops = get_backend('my_pkg:Wrong')" in outcome.repro
    assert "ops.silu(x)" in outcome.repro
    assert len(outcome.repro.splitlines()) < 12
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        exec(outcome.repro, {})
    import my_pkg

    [outcome] = silu(my_pkg.Wrong).failures
    assert "from my_pkg import Wrong" in outcome.repro
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        exec(outcome.repro, {})


def test_recheck_runs_one_check_again():
    recheck("numpy", WRONG)
    recheck("vanilla", "blocks/timestep_embedder/float32/values")
    with pytest.raises(AssertionError, match=f"{WRONG}: error"):
        recheck(Wrong, WRONG)
    for wrong, near in (("ops/silu/float32/value", WRONG), ("ops/sliu/float32/values", WRONG), ("ops/erf", "ops/erf/")):
        with pytest.raises(InvalidInputError, match=f"^there is no check '{wrong}'; the nearest is '{near}"):
            recheck("numpy", wrong)


# ---------------------------------------------------------------------- xfail


def test_an_xfail_excuses_exactly_what_it_names(tmp_path):
    path = tmp_path / "known.txt"
    path.write_text(f"# what this backend cannot do\n\n  {WRONG} | twice is nice  \n")
    report = silu(xfail=path)
    assert report.ok
    assert report.counts == {"pass": 8, "xfail": 1}
    assert not silu(xfail=path, dtypes=["float32", "float64"]).ok
    stale = silu("numpy", xfail=path)
    assert not stale.ok
    assert [(o.id, o.status) for o in stale.failures] == [(WRONG, "xpass")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ops/silu/float32/value | x", "line 1: there is no check 'ops/silu/float32/value'; the nearest is 'ops/silu/"),
        (f"\n{WRONG}", "line 2: .* must be 'check | reason'"),
        (f"{WRONG} |  ", "line 1: .* must be 'check | reason'"),
        (f"{WRONG} | a\n{WRONG} | b", f"line 2: {WRONG} is listed twice"),
        (b"\xff", "not a UTF-8 text"),
    ],
)
def test_a_list_of_xfails_is_strict(tmp_path, text, complaint):
    path = tmp_path / "known.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInputError, match=complaint):
        read_xfails(path, KNOWN)
    with pytest.raises(InvalidInputError, match="needs a reason"):
        silu(xfail={WRONG: ""})


# ---------------------------------------------------------------------- reports


def test_a_report_is_text_json_and_junit():
    report = silu(xfail={"ops/silu/float32/nan": "never"})
    assert report.summary.startswith("FAIL: Wrong on cpu, level ops: 7 pass, 1 fail, 1 xpass; float32, 30 examples")
    assert [row[:3] for row in report.rows(failures_only=True)][1] == ("ops/silu", "fail", "7 of 9")
    assert any(line.startswith(f"{WRONG}: error") for line in report.details())
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (data["ok"], data["target"], data["counts"]) == (False, "Wrong", {"pass": 7, "fail": 1, "xpass": 1})
    root = ET.fromstring(junit_xml(report))
    assert root.tag == "testsuites"
    [suite] = root
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (
        "ops",
        "9",
        "2",
        "0",
    )
    cases = {f"{case.get('classname')}/{case.get('name')}": case for case in suite}
    failure = cases["Wrong.ops.silu/float32/values"].find("failure")
    assert failure.get("message").startswith("error")
    assert "ops.silu(x)" in failure.text


def test_junit_holds_what_xml_cannot(monkeypatch):
    class Rude(NumpyOps):
        def silu(self, x):
            raise ValueError("\x00 \x1b[31m <&> \ud800 ✓")

    root = ET.fromstring(junit_xml(silu(Rude)).encode())
    messages = [failure.get("message") for failure in root.iter("failure")]
    assert messages[0].startswith("ValueError: ? ?[31m <&> ? ✓")
    assert len(list(root.iter("skipped"))) == len(ASPECTS) - 1


# ---------------------------------------------------------------------- through pytest


STRANGER = f"""
from opensora_core.testing.conformance import conformance_tests
from opensora_backends.numpy_ops import NumpyOps

{inspect.getsource(Wrong)}

test_right = conformance_tests(NumpyOps, level="ops", only="lu", dtypes=["float32"])
test_wrong = conformance_tests(Wrong, level="ops", only="ops/silu", dtypes=["float32"])
test_known = conformance_tests(Wrong, level="ops", only="ops/silu", dtypes=["float32"], xfail={{"{WRONG}": "twice"}})
"""


def test_a_stranger_runs_the_suite_through_pytest(tmp_path):
    (tmp_path / "test_mine.py").write_text(STRANGER)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(tmp_path)]
    out = subprocess.run(command, cwd=tmp_path, env=PATHS, capture_output=True, text=True, timeout=120, check=False)
    lines = [line.partition(" - ")[0] for line in out.stdout.splitlines()]
    assert "PASSED test_mine.py::test_right[ops/gelu]" in lines
    assert "PASSED test_mine.py::test_right[ops/silu]" in lines
    assert "FAILED test_mine.py::test_wrong[ops/silu]" in lines
    assert "XFAIL test_mine.py::test_known[ops/silu]" in lines
    assert f"{WRONG}: error" in out.stdout
    assert "from test_mine import Wrong" in out.stdout


def test_a_missing_framework_is_a_skip_but_an_error_where_it_must_run(monkeypatch):
    monkeypatch.setenv("OPENSORA_MUST_RUN", "numpy, torch")
    assert must_run() == ("numpy", "torch")
    require("numpy")
    with pytest.raises(pytest.skip.Exception, match="no_such_framework is not installed"):
        require("no_such_framework")
    monkeypatch.setenv("OPENSORA_MUST_RUN", "no_such_framework")
    with pytest.raises(pytest.fail.Exception, match="OPENSORA_MUST_RUN says that no_such_framework must run here"):
        require("no_such_framework")


def test_so_is_a_missing_backend(monkeypatch):
    monkeypatch.setattr("opensora_core.registry.importlib.util.find_spec", lambda name: None)
    monkeypatch.delenv("OPENSORA_MUST_RUN", raising=False)
    test = conformance_tests("torch", level="ops")
    with pytest.raises(pytest.skip.Exception, match=r"pip install 'opensora-core\[torch\]'"):
        test("ops/silu")
    monkeypatch.setenv("OPENSORA_MUST_RUN", "torch")
    with pytest.raises(pytest.fail.Exception, match="torch must run here"):
        test("ops/silu")


def test_so_is_a_framework_that_a_strangers_backend_needs(tmp_path, monkeypatch):
    (tmp_path / "needy_pkg.py").write_text("import no_such_framework")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OPENSORA_MUST_RUN", "numpy")
    test = conformance_tests("needy_pkg:Ops", level="ops")
    with pytest.raises(pytest.skip.Exception, match="needs the package 'no_such_framework'"):
        test("ops/silu")
    monkeypatch.setenv("OPENSORA_MUST_RUN", "no_such_framework")
    with pytest.raises(pytest.fail.Exception, match="no_such_framework must run here"):
        test("ops/silu")


def test_without_hypothesis_the_error_names_the_extra():
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'hypothesis' else find(name, *rest)\n"
        "from opensora_core.cli import main\n"
        "sys.argv[1:] = ['conformance', 'numpy']\n"
        "main()"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert out.returncode == MissingDependencyError.exit_code
    assert "pip install 'opensora-core[test]'" in out.stderr
