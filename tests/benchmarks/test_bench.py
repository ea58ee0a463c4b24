"""Sampling, files, comparisons and the command line of `opensora bench`."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from opensora_benchmarks import bench, roofline
from opensora_benchmarks.compare import compare, interval, verdict
from opensora_benchmarks.report_html import html
from opensora_benchmarks.report_markdown import markdown
from opensora_benchmarks.report_table import csv_text, duration
from opensora_benchmarks.results import SCHEMA, Journal, load
from opensora_benchmarks.roofline import Roofline
from opensora_benchmarks.sampling import Rule, Taken, relative_standard_error, summary, take_turns
from opensora_core.cli.app import app
from opensora_core.errors import FileFormatError, InvalidInputError


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sampler(self, *seconds):
        """Takes those seconds, one after another, over and over."""
        calls = iter(seconds * 1000)

        def sample():
            taken = next(calls)
            self.now += taken
            return taken

        return sample


def test_sampling_ends_when_it_is_sure_or_time_is_up():
    clock = Clock()
    samplers = {"steady": clock.sampler(1.0), "restless": clock.sampler(0.5, 1.5), "slow": clock.sampler(40.0)}
    taken = take_turns(samplers, Rule(budget=100.0, least=5, warmup=2), clock)
    assert {name: (t.ended, len(t.samples)) for name, t in taken.items()} == {
        "steady": ("converged", 5), "restless": ("budget", 98), "slow": ("budget", 2)
    }  # fmt: skip
    assert taken["slow"].spent == 160.0  # with two calls that do not count


def test_a_sampler_that_raises_is_out_and_the_others_go_on():
    def broken():
        raise ValueError("no")

    taken = take_turns({"broken": broken, "fine": lambda: 1.0}, Rule(least=3))
    assert isinstance(taken["broken"], ValueError)
    assert isinstance(taken["fine"], Taken)
    assert taken["fine"].samples == [1.0] * 3


def test_statistics_of_samples():
    found = summary([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (found["median_s"], found["min_s"], found["n"]) == (3.0, 1.0, 5)
    assert (found["p20_s"], found["p80_s"]) == pytest.approx((1.8, 5.2))
    assert relative_standard_error([1.0, 3.0]) == pytest.approx(0.5)
    assert relative_standard_error([1.0]) == float("inf")


def test_a_roofline_tells_the_least_time_and_what_bounds_it():
    machine = Roofline("float32", flops=100.0, bytes=10.0, by=("numpy", "numpy"))
    assert (machine.seconds(1000, 10), machine.bound(1000, 10)) == (10.0, "compute")
    assert (machine.seconds(10, 1000), machine.bound(10, 1000)) == (100.0, "memory")


def test_the_roofline_is_measured():
    numpy = bench.Asked("*", backends=("numpy",)).open_providers()[0].library
    found = roofline.measure_roofline([numpy], "float32", Rule(least=2, most=2, warmup=0), size=64)
    assert found.flops > 0 < found.bytes
    assert found.by == ("numpy", "numpy")


# ---------------------------------------------------------------------- comparisons


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(1.11, 1.2, "SLOWER"), (0.8, 0.9, "FASTER"), (0.97, 1.03, "SAME"), (0.97, 1.2, "UNSURE"), (0.5, 2.0, "UNSURE")],
)
def test_verdicts(low, high, word):
    assert verdict(low, high) == word


def samples(seed, factor=1.0, n=60):
    return list(factor * np.random.default_rng(seed).lognormal(0, 0.05, n))


def test_the_interval_holds_the_true_ratio_and_two_equal_runs_are_the_same():
    found = [interval(samples(i), samples(1000 + i)) for i in range(60)]
    assert sum(low <= 1 <= high for _, low, high in found) >= 52  # 95 % of 60 is 57
    assert sum(verdict(low, high) == "SAME" for _, low, high in found) >= 52
    assert verdict(*interval(samples(0), samples(1, 1.2))[1:]) == "SLOWER"
    assert verdict(*interval(samples(0), samples(1, 0.8))[1:]) == "FASTER"


MACHINE = {
    "device": "cpu", "processor": "one", "processors": 2, "system": "Linux", "threads": {}, "gpu": None, "blas": "b",
    "load": None, "date": "today", "commit": None, "seed": 3,
}  # fmt: skip


def document(times, **changes):
    row = {
        "suite": "op", "case": "gelu/x", "op": "gelu", "shape": {"N": 3}, "dtype": "float32", "provider": "numpy",
        "device": "cpu", "cache": "cold", "clock": "c", "status": "ok", "reason": None, "samples_s": times,
        **summary(times), "flops": 10, "bytes": 5, "intensity": 2.0, "tflops": 1.0, "gbs": 2.0, "roofline_share": 0.5,
        "bound": "memory", "first_call_s": 1.0, "peak_memory": {"host": 2**20, "device": None}, "ended": "converged",
        "error_of_allowed": 0.25, **changes.pop("row", {}),
    }  # fmt: skip
    refused = {**row, "provider": "theirs", "status": "fail", "reason": "its error is 1"}
    del refused["samples_s"], refused["median_s"]
    line = {"dtype": "float32", "flops": 1e11, "bytes": 1e10, "by": ["numpy", "torch"]}
    return {"schema": SCHEMA, "environment": {**MACHINE, **changes}, "roofline": line, "results": [row, refused]}


def written(folder, name, *args, **changes):
    path = folder / name
    path.write_text(json.dumps(document(*args, **changes)))
    return str(path)


def opensora(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)], prog_name="opensora")


def test_a_slower_run_is_told_by_the_exit_code(tmp_path):
    a, same, slow = (
        written(tmp_path, name, t) for name, t in (("a", samples(0)), ("b", samples(1)), ("c", samples(2, 1.5)))
    )
    assert opensora("compare", a, same).exit_code == 0
    result = opensora("compare", a, slow, "--json")
    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)["comparisons"]
    assert (found["verdict"], found["case"], found["provider"]) == ("SLOWER", "gelu/x", "numpy")
    assert 1.4 < found["low"] < found["ratio"] < found["high"] < 1.6
    assert opensora("compare", slow, a).exit_code == 0


def test_only_what_is_of_one_cohort_is_compared(tmp_path):
    a = document(samples(0))
    with pytest.raises(InvalidInputError, match="they differ in processors: 2 and 4"):
        compare(a, document(samples(0), processors=4))
    for change in ({"cache": "warm"}, {"dtype": "float16"}, {"shape": {"N": 4}}, {"case": "gelu/y"}):
        with pytest.raises(InvalidInputError, match="nothing in common"):
            compare(a, document(samples(0), row=change))


# ---------------------------------------------------------------------- files and reports


def test_an_interrupted_run_keeps_its_rows(tmp_path):
    whole = document(samples(0))
    rows = whole.pop("results")[:1]
    journal = Journal(tmp_path / "r.json", whole)
    journal.append(rows[0])
    with journal.partial.open("a") as file:
        file.write('{"case": "cut o')
    assert load(journal.partial)["results"] == rows
    assert not journal.path.exists()
    assert journal.finish()["results"] == rows
    assert load(journal.path)["schema"] == SCHEMA
    assert not journal.partial.exists()


@pytest.mark.parametrize(("text", "complaint"), [("[1]", "JSON list"), ("{}", "without a schema"), ("x", "no results")])
def test_other_files_are_refused(tmp_path, text, complaint):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(FileFormatError, match=complaint):
        load(tmp_path / "other.json")


def test_reports_tell_times_and_refusals(tmp_path):
    found = document([0.001, 0.0011, 0.0012])
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [float(row["seconds"]) for row in rows[:3]] == [0.001, 0.0011, 0.0012]
    assert (rows[3]["provider"], rows[3]["reason"], rows[3]["seconds"]) == ("theirs", "its error is 1", "")
    assert (rows[0]["peak_memory_host"], rows[0]["date"], rows[0]["processors"], rows[0]["seed"]) == (
        str(2**20), "today", "2", "3"
    )  # fmt: skip
    shown = opensora("report", written(tmp_path, "a", [0.001, 0.0011])).stdout
    assert "gelu/x  N=3  float32, cold caches" in shown
    assert "roofline: 0.1 TFLOP/s in float32 by numpy, 10 GB/s by torch" in shown
    assert (duration(2.5), duration(3e-6), duration(1e-10)) == ("2.5 s", "3 us", "0.1 ns")


def test_markdown_is_one_table_with_the_command_and_the_machine_at_its_foot():
    found = document([0.001, 0.0011, 0.0012]) | {"command": "opensora bench run gelu"}
    slow = {**found["results"][0], "provider": "a|b", "median_s": 0.0022, "bound": "compute"}
    *lines, blank, made, machine, roof = markdown({**found, "results": [*found["results"], slow]}).splitlines()
    assert lines[2:] == [
        "| `gelu/x` | N=3 | numpy | 1.1 ms | 1.00 | 2 GB/s | 50% | 1.0 MiB | ok, 0.25 of the error allowed |",
        "|  |  | a\\|b | 2.2 ms | 2.00 | 1 TFLOP/s | 50% | 1.0 MiB | ok, 0.25 of the error allowed |",
        "|  |  | theirs | – | – | – | – | – | FAIL: its error is 1 |",
    ]
    assert (blank, made) == ("", "Made by `opensora bench run gelu`: float32, cold caches.  ")
    assert "threads not limited; b; load None; today; commit unknown" in machine
    assert roof.startswith("roofline: 0.1 TFLOP/s")


def test_the_command_is_the_one_that_was_asked():
    asked = bench.Asked("attention/*", backends=("numpy", "torch"), quick=True, budget=2.0, dtype="float64")
    wanted = (
        "opensora bench run 'attention/*' --backend numpy,torch --dtype float64 --quick --budget 2.0 --output b.json"
    )
    assert asked.command(Path("b.json")) == wanted


def test_the_page_needs_nothing_else_and_trusts_no_name(tmp_path):
    a = written(tmp_path, "a", [0.001, 0.0011, 0.004], row={"provider": "<b>mine</b>"})
    assert opensora("report", a, "-o", tmp_path / "a.html").exit_code == 0
    page = (tmp_path / "a.html").read_text()
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "http" not in page
    assert 'data-key="0.0011"' in page
    assert "FAIL: its error is 1" in page
    plot, ticks = (ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    (dot,) = plot.iter("circle")
    assert 0 < float(dot.get("cx")) < 860
    assert 0 < float(dot.get("cy")) < 380
    assert next(ticks.iter("path")).get("d").count("M") == 3


def test_without_times_there_is_a_page_without_a_plot():
    found = document([0.001, 0.0011])
    del found["results"][0]
    assert "<svg" not in html(found)
    assert "its error is 1" in html(found)


# ---------------------------------------------------------------------- the command line


@pytest.fixture
def fast(monkeypatch, tmp_path):
    """No probes and no flushes, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    line = Roofline("float32", 1e11, 1e10, ("numpy", "numpy"))
    monkeypatch.setattr(bench, "measure_roofline", lambda libraries, dtype: line)
    return tmp_path


def test_a_function_of_ones_own_is_timed_beside_a_backend(fast, monkeypatch):
    monkeypatch.syspath_prepend(str(fast))
    (fast / "mine_for_bench.py").write_text(
        "import numpy as np\n\ndef right(x, b, g):\n    return x + g * b\n\ndef wrong(x, b, g):\n    return x + b\n"
        "\ndef broken(x, b, g):\n    raise RuntimeError('no such grid')\n"
    )
    arguments = ("run", "gated_residual/tokens-prime", "--quick", "--warm", "--budget", "0.2", "--seed", "0")
    good = opensora(*arguments, "--provider", "mine_for_bench:right", "--backend", "numpy", "-o", "good.md")
    assert good.exit_code == 0, good.output
    assert "wrote good.json, good.html, good.md" in good.stderr
    assert "--provider mine_for_bench:right --quick --budget 0.2 --warm --seed 0 --output good.md`" in (
        fast / "good.md"
    ).read_text("utf-8")
    assert "mine_for_bench:right" in (fast / "good.html").read_text()
    rows = load(fast / "good.json")["results"]
    assert [(row["provider"], row["status"]) for row in rows] == [("numpy", "ok"), ("mine_for_bench:right", "ok")]
    assert len({row["inputs"] for row in rows}) == 1
    bad = opensora(*arguments, "--provider", "mine_for_bench:wrong,mine_for_bench:broken", "-o", "bad.json")
    assert bad.exit_code == 1
    assert "RuntimeError: no such grid (in mine_for_bench.py:10, broken)" in bad.stdout
    assert "FAIL  mine_for_bench:wrong: its error is" in bad.stdout


def test_a_rival_may_lack_a_kernel_and_a_busy_machine_is_told():
    rows = [
        {"provider": p, "status": s} for p, s in (("jax", "error"), ("mine", "error"), ("jax", "fail"), ("x", "ok"))
    ]
    assert bench.failures({"results": rows}) == rows[1:3]
    told = {load: bench.busy({"environment": {"load": [load, 0, 0], "processors": 2}}) for load in (0.5, 9.5)}
    assert told[0.5] is None
    assert "load 9.5 on 2 processors" in told[9.5]


def test_a_run_that_is_stopped_says_where_its_rows_are(fast, monkeypatch):
    def stopped(case, *rest):
        yield document(samples(0))["results"][0]
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run_case", stopped)
    result = opensora("run", "gelu", "--backend", "numpy", "-o", "r.json")
    assert result.exit_code == 130
    assert "results so far are kept: opensora bench report r.json.partial" in result.stderr
    assert len(load(fast / "r.json.partial")["results"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("run", "atention/*"), 2, "did you mean 'attention/*'?"),
        (("run", "attention/ful-2k"), 2, "did you mean 'attention/full-2k'?"),
        (("run", "attention/*-720p", "--quick"), 2, "leave it out"),
        (("run", "gelu", "--backend", "nump"), 2, "there is no backend 'nump'"),
        (("run", "gelu", "--provider", "flash"), 2, "there is no provider 'flash'; known: numpy"),
        (("run", "gelu", "--provider", "no_such_module:f"), 2, "cannot be loaded"),
        (("run", "gelu", "--provider", "math:pi"), 2, "'math:pi' is float; expected a function"),
        (("run", "gelu", "--provider", "flash-attn"), 3, "the package 'flash_attn' is not installed"),
        (("run", "gelu", "--dtype", "float8"), 2, "dtype 'float8' is not one of"),
        (("run", "gelu", "--budget", "-1"), 2, "budget=-1"),
        (("run", "gelu", "--error", "0"), 2, "error=0 must lie between 0 and 1"),
        (("run", "gelu", "--arrays", "lists"), 2, "arrays 'lists' is not one of"),
        (("run", "gelu", "--backend", "numpy", "--device", "cuda:0"), 2, "cuda:0"),
        (("run", "gelu", "--backend", "numpy", "-o", "absent/r.json"), 2, "a folder that exists"),
        (("run", "gelu", "--backend", "numpy", "-o", "r.txt"), 2, "'.txt' is not one of .json, .csv, .md"),
        (("report", "absent.json"), 2, "absent.json: No such file"),
    ],
)
def test_bad_input_is_told(fast, arguments, code, complaint):
    result = opensora(*arguments)
    assert result.exit_code == code, result.output
    assert complaint in result.stderr


def test_without_the_package_the_remedy_is_named(monkeypatch):
    from opensora_core.cli import bench as command

    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    result = opensora("list")
    assert result.exit_code == 3
    assert "pip install 'opensora-core[bench]'" in result.stderr


def test_cases_are_listed():
    listed = json.loads(opensora("list", "attention/*", "--json").stdout)
    assert {"attention/spatial-480p", "attention/prime-d129"} <= {case["id"] for case in listed["cases"]}
    assert "numpy" in listed["providers"]


def test_a_probe_at_a_busy_moment_leaves_no_case_out_and_the_best_probe_counts(fast, monkeypatch):
    lines = [
        Roofline("float32", rate, 1e10, (by, by)) for rate, by in ((1.0, "numpy"), (1e11, "torch"), (1e10, "numpy"))
    ]
    left = iter(lines)
    monkeypatch.setattr(bench, "measure_roofline", lambda libraries, dtype: next(left))
    asked = bench.Asked("gated_residual/tokens-prime", ("numpy",), quick=True, budget=0.1, warm=True, seed=0)
    found = bench.run(asked, fast / "r.json")
    assert list(left) == []
    (row,) = found["results"]
    assert (row["status"], found["roofline"]["flops"]) == ("ok", 1e11)
    assert row["roofline_share"] == pytest.approx(lines[1].seconds(row["flops"], row["bytes"]) / row["median_s"])
    assert lines[0].best_of(lines[1]) == lines[1].best_of(lines[0])


def test_a_roofline_that_rows_exceed_is_told(tmp_path):
    changes = {"bound": "compute", "roofline_share": 1.23}
    told = "the roofline was measured too low: the machine was busy (gelu/x by numpy reaches 123% of it)"
    found = document(samples(0), row=changes)
    assert bench.warnings({**found, "environment": {"load": None, "processors": 2}}) == [told]
    assert told in markdown(found)
    assert told in html(found)
    for right in ({"bound": "memory"}, {"roofline_share": 1.004}):
        assert roofline.too_low(document(samples(0), row={**changes, **right})) is None
