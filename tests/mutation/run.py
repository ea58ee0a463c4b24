"""Mutation run: change one operator, number or condition at a time, and count the changes that no test notices.

From the root of the repository, with cosmic-ray installed beside what requirements-dev.txt names:

    python tests/mutation/run.py SESSION.sqlite

Works in a clone of the last commit, so that the checkout is never touched. A session that exists already goes on where
it stopped; `--survivors` runs again what survived, after tests were added; `--report` only prints. Cosmic Ray makes the
changes and keeps the results. Its own `exec` starts Python anew for each change, which takes longer than most tests do:
here each runs in a fork of this process, which has imported all but what is tested.
"""

import argparse
import ast
import gc
import importlib
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import check
import cosmic_ray.mutating
import hypothesis.extra._patching
import hypothesis.extra.numpy  # noqa: F401
import numpy.testing  # noqa: F401
import torch  # noqa: F401
from _pytest.config import default_plugins
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "tests/mutation/cosmic-ray.toml"
LIMIT = 120  # seconds of processor time; a change that makes the tests endless counts as noticed


def run(session, survivors):
    """Test the changes of a session that have no result yet, or that survived."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        os.chdir(clone)
        for plugin in default_plugins:
            importlib.import_module(f"_pytest.{plugin}")
        gc.freeze()  # what is imported is no garbage: the forks need not look for any in it
        if in_a_fork() != TestOutcome.SURVIVED:
            sys.exit("the tests fail as they are")
        sys.dont_write_bytecode = True  # a changed module may have the size and the second of the one before
        if not session.exists():
            new = session.with_name(f"{session.name}.new")  # a session is there whole or not at all
            for tool in (["cli", "init", CONFIG, new], ["tools.filters.operators_filter", new, CONFIG]):
                subprocess.run([sys.executable, "-m", f"cosmic_ray.{tool[0]}", *tool[1:]], check=True)
            skip_stars(new)
            new.rename(session)
        cosmic_ray.mutating.run_tests = lambda command, timeout: (in_a_fork(), "")
        with use_db(session, WorkDB.Mode.open) as db:
            again = [item for item, result in db.completed_work_items if result.test_outcome == TestOutcome.SURVIVED]
            todo = again if survivors else list(db.pending_work_items)
            for number, item in enumerate(todo, start=1):
                result = cosmic_ray.mutating.mutate_and_test(item.mutations, None, None)
                db.set_result(item.job_id, result)
                print(f"{number} of {len(todo)}: {result.test_outcome}", file=sys.stderr)


def skip_stars(session):
    """Leave the stars of arguments and unpacking alone, which Cosmic Ray takes for products."""
    with use_db(session, WorkDB.Mode.open) as db:
        for item in list(db.pending_work_items):
            [mutation] = item.mutations
            tree = ast.parse(mutation.module_path.read_text())
            binary = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
            if "BinaryOperator" in mutation.operator_name and not any(
                position(node.left, "end_") <= mutation.start_pos < position(node.right) for node in binary
            ):
                db.set_result(item.job_id, WorkResult(WorkerOutcome.SKIPPED))


def position(node, end=""):
    return getattr(node, f"{end}lineno"), getattr(node, f"{end}col_offset")


def in_a_fork():
    """Run the tests of the module that is changed."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        code = 1
        try:
            code = check.check()
        finally:
            os._exit(code)
    return TestOutcome.SURVIVED if os.waitpid(child, 0)[1] == 0 else TestOutcome.KILLED


def report(session):
    """Print the score by module and the changes that survived."""
    outcomes, survivors = defaultdict(Counter), []
    with use_db(session, WorkDB.Mode.open) as db:
        for item, result in db.completed_work_items:
            if result.worker_outcome == WorkerOutcome.SKIPPED:
                continue
            [mutation] = item.mutations
            outcomes[str(mutation.module_path)][result.test_outcome] += 1
            if result.test_outcome == TestOutcome.SURVIVED:
                changed = [x for x in result.diff.splitlines() if x[:1] in "+-" and x[:3] not in ("+++", "---")]
                survivors.append("\n".join([f"{mutation.module_path}:{mutation.start_pos[0]}", *changed]))
    print("| module | changes | noticed | survived | score |")
    print("|---|---:|---:|---:|---:|")
    for module, counts in sorted(outcomes.items()):
        row(f"`{module}`", counts)
    row("together", sum(outcomes.values(), Counter()))
    print("", *sorted(survivors), sep="\n")


def row(name, counts):
    survived, every = counts[TestOutcome.SURVIVED], counts.total()
    print(f"| {name} | {every} | {every - survived} | {survived} | {100 * (every - survived) / every:.1f} % |")


def main():
    parser = argparse.ArgumentParser(description="Run or continue a mutation session, and print its score.")
    parser.add_argument("session", type=lambda text: Path(text).absolute(), help="SQLite file of the results")
    parser.add_argument("--survivors", action="store_true", help="run again what survived")
    parser.add_argument("--report", action="store_true", help="only print the results there are")
    options = parser.parse_args()
    if not options.report:
        run(options.session, options.survivors)
    report(options.session)


if __name__ == "__main__":
    main()
