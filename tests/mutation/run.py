"""Mutation run: change one operator, number or condition at a time, and count the changes that no test notices.

From the root of the repository, with cosmic-ray installed beside what requirements-dev.txt names:

    python tests/mutation/run.py SESSION.sqlite

Works in a clone of the last commit, so that the checkout is never touched. A session that is there already goes on
where it stopped. Prints the score of each module as Markdown, and the changes that survived.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "tests/mutation/cosmic-ray.toml"


def run(session):
    """Execute the mutants of a session that have no result yet."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)

        def tool(*command):
            subprocess.run([sys.executable, "-m", *command], cwd=clone, check=True)

        tool("cosmic_ray.cli", "baseline", CONFIG)
        if not session.exists():
            tool("cosmic_ray.cli", "init", CONFIG, session)
            tool("cosmic_ray.tools.filters.operators_filter", session, CONFIG)
            tool("cosmic_ray.tools.filters.pragma_no_mutate", session)
        tool("cosmic_ray.cli", "exec", CONFIG, session)


def report(session):
    """Print the score by module and the diffs of the survivors."""
    outcomes, survivors = defaultdict(lambda: defaultdict(int)), []
    with use_db(session, WorkDB.Mode.open) as db:
        for item, result in db.completed_work_items:
            if result.worker_outcome == WorkerOutcome.SKIPPED:
                continue
            module = str(item.mutations[0].module_path)
            outcomes[module][result.test_outcome] += 1
            if result.test_outcome == TestOutcome.SURVIVED:
                survivors.append((module, item.mutations[0].start_pos[0], result.diff))
    print("| module | mutants | noticed | survived | score |")
    print("|---|---:|---:|---:|---:|")
    total = defaultdict(int)
    for module, counts in sorted(outcomes.items()):
        for outcome, count in counts.items():
            total[outcome] += count
        row(module, counts)
    row("together", total)
    for module, line, diff in sorted(survivors):
        changed = [x for x in diff.splitlines() if x[:1] in "+-" and x[:3] not in ("+++", "---")]
        print(f"\n{module}:{line}", *changed, sep="\n")


def row(name, counts):
    survived, every = counts[TestOutcome.SURVIVED], sum(counts.values())
    print(f"| `{name}` | {every} | {every - survived} | {survived} | {100 * (every - survived) / every:.1f} % |")


def main():
    parser = argparse.ArgumentParser(description="Run or continue a mutation session, and print its score.")
    parser.add_argument("session", type=lambda text: Path(text).absolute(), help="SQLite file of the results")
    parser.add_argument("--report", action="store_true", help="only print the results there are")
    options = parser.parse_args()
    if not options.report:
        run(options.session)
    report(options.session)


if __name__ == "__main__":
    main()
