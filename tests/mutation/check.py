"""The tests that must notice a change of one module: `python tests/mutation/check.py` fails if one does.

The changed module is the one that differs from the last commit; tests that name the changed function come first.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

REFERENCES = "tests/conformance/test_references.py"
PROPERTIES = "tests/metamorphic/test_properties.py"
TESTS = {  # module -> quick tests, then those that a mutant must survive as well
    "opensora_core/ops.py": [[REFERENCES], [PROPERTIES, "tests/conformance/test_meaning.py"]],
    "opensora_core/derived.py": [["tests/conformance/test_derived.py"], [PROPERTIES]],
    "opensora_core/schedulers": [["tests/schedulers"], [PROPERTIES]],
    "opensora_core/training/masks.py": [["tests/training/test_masks.py"]],
}
OPTIONS = [
    "-x", "-q", "--tb=no", "--noconftest", "-p", "no:cacheprovider", "-p", "no:unraisableexception",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
]  # fmt: skip


class Order:
    """Puts tests that name the changed function in front; backends other than the plain one are asked last or never.

    Their own versions of the fused ops do not notice a change of the compositions.
    """

    def __init__(self, module, function):
        self.function = function
        self.others = ("-numpy]", "ApiOps]", "torch]") if module.endswith("ops.py") else ("-numpy]", "ApiOps]")

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if not item.name.endswith(self.others)]
        items.sort(key=lambda item: ("torch" in item.name, self.function not in item.name))


def git_diff(*options):
    return subprocess.run(["git", "diff", *options], capture_output=True, text=True, check=True).stdout


def changed_function(path):
    """Name of the innermost function around the first changed line, or "?"."""
    line = int(re.search(r"^@@ .*\+(\d+)", git_diff("-U0", path), re.MULTILINE)[1])
    nodes = [n for n in ast.walk(ast.parse(Path(path).read_text())) if isinstance(n, ast.FunctionDef)]
    around = [n for n in nodes if n.lineno <= line <= n.end_lineno]
    return max(around, key=lambda n: n.lineno).name if around else "?"


def check():
    """Return 0 if every test passes."""
    settings.register_profile(
        "mutation", max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=HealthCheck,
    )  # fmt: skip
    settings.load_profile("mutation")
    changed = git_diff("--name-only", "--", *TESTS).split()
    stages = [s for module, stages in TESTS.items() for s in stages if not changed or changed[0].startswith(module)]
    try:
        order = Order(changed[0], changed_function(changed[0])) if changed else Order("", "?")
    except SyntaxError:
        return 1
    for files in stages:
        if code := pytest.main([*OPTIONS, *files], plugins=[order]):
            return int(code)
    return 0


if __name__ == "__main__":
    sys.exit(check())
