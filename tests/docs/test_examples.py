"""What README and docs say can be run runs: Python blocks, command lines, recipes, links."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from opensora_core.cli.app import app
from opensora_core.ops import FUSED, PRIMITIVES
from opensora_core.pipelines import storage
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.training.recipe import recipe_from_dict

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
VERBS = typer.main.get_command(app).commands


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def command_lines() -> list[tuple[str, str]]:
    """Lines of console blocks and of indented ones, a line with && being several."""
    found = []
    for page, text in TEXTS.items():
        indented = [line.strip() for line in text.splitlines() if line.startswith("    ")]
        lines = [line for block in blocks(text, "console") for line in block.splitlines()] + indented
        found += [(page, part.strip()) for line in lines for part in line.split("&&")]
    return [(page, line) for page, line in found if line.startswith(("opensora ", "python -m "))]


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if blocks(text, "python")])
def test_python_blocks_of_a_page_run_one_after_the_other(page, nano, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "EMBEDDED", Path(nano))
    monkeypatch.setenv("OPENSORA_BACKEND", "numpy")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "golden").symlink_to(ROOT / "tests" / "golden")
    names = {"__name__": "docs"}
    for number, block in enumerate(blocks(TEXTS[page], "python"), 1):
        exec(compile(block, f"{page}, block {number}", "exec", dont_inherit=True), names)


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_command_lines_name_verbs_modules_and_options_that_exist(page, line):
    program, *words = shlex.split(line, comments=True)
    if program == "python":
        assert importlib.util.find_spec(words[1]) is not None
        return
    command = VERBS[words[0]]
    command = command.commands[words[1]] if hasattr(command, "commands") else command
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if "[[stages]]" in text])
def test_recipes_can_be_read(page):
    for block in blocks(TEXTS[page], "toml"):
        recipe = recipe_from_dict(tomllib.loads(block))
        assert recipe.total_steps > 0


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_files_of_the_repository(page):
    targets = [t.partition("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]) if "://" not in t]
    missing = [t for t in targets if t and not (ROOT / page).parent.joinpath(t).exists()]
    assert missing == []


def test_the_two_commands_of_the_readme_are_as_promised():
    lines = TEXTS["README.md"].splitlines()
    prompt = '"a red circle moves right on a blue background"'
    assert f"    pip install . && opensora generate {prompt} -o out.mp4" in lines
    assert "    pip install -r requirements-dev.txt && pytest" in lines


def test_the_language_page_lists_every_op():
    text = TEXTS["docs/language.md"]
    listed = re.search(r"`(asarray .*?)`.*?`(linear .*?)`", text, re.DOTALL)
    assert listed
    assert [tier.split() for tier in listed.groups()] == [PRIMITIVES, FUSED]
    assert f"**Primitives** ({len(PRIMITIVES)})" in text
    assert f"**Fused ops** ({len(FUSED)})" in text


def test_every_member_of_the_interface_is_held_by_a_test_that_exists():
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| `(\S+)::(\S+)` \|$", TEXTS["docs/interface.md"], re.MULTILINE)
    assert len(rows) == sum(line.startswith("| ") for line in TEXTS["docs/interface.md"].splitlines()) - 1
    for here, file, test in rows:
        assert re.search(rf"^def {test}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), (file, test)
        for name in re.findall(r"`(\w+)\(", here):
            assert name == "OpenSora" or hasattr(OpenSora, name), name


def test_every_page_of_the_docs_can_be_reached_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[^)#]+)\)", TEXTS["README.md"]))
    assert linked >= {page for page in TEXTS if page.startswith("docs/")}
