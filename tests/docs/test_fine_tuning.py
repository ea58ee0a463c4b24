"""The page on fine-tuning can be followed from its first command to its last, here with one of everything."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from opensora_core.cli.app import app
from opensora_core.pipelines.opensora import OpenSora
from tests.docs.test_examples import TEXTS, blocks

PAGE = TEXTS["docs/fine-tuning.md"]
FEWER = {"--n": "1", "--backend": "numpy", "--contact-sheet": "sheet.png"}


def shortened(line: str) -> list[str]:
    """The words of a command, fewer of everything; sampling takes one step."""
    words = shlex.split(line)
    words = [FEWER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    return [*words, "--steps", "1"] if words[1] in ("evaluate", "generate") else words


def follow(line: str) -> str:
    """Run a command in this process; returns what it prints."""
    program, *words = shortened(line)
    if program == "python":
        importlib.import_module(words[1]).main(words[2:])
        return ""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (line, result.output)
    return result.stdout


def test_the_page_can_be_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENSORA_BACKEND", "numpy")
    recipe = re.sub(r"\bsteps = \d+", "steps = 1", blocks(PAGE, "toml")[0])
    Path("swing.toml").write_text(recipe.replace("batch_size = 8", "batch_size = 1"))
    lines = [line for block in blocks(PAGE, "console") for line in block.splitlines()]
    printed = {line: follow(line) for line in lines}

    assert len(list(Path("clips").rglob("*.mp4"))) == 2
    assert OpenSora.from_pretrained("swings", backend="numpy").config.vocabulary[-2:] == ("swings", "swinging")
    assert Path("swing.mp4").stat().st_size > 0
    tables = [text for line, text in printed.items() if line.startswith("opensora evaluate")]
    assert len(tables) >= 4
    for table in tables:
        assert "1 held-out scenes" in table
    assert Path("sheet.png").exists()
