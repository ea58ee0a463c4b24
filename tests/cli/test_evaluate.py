"""evaluate: the verb shows what opensora_core.evaluation measures."""

from __future__ import annotations

import pytest
from PIL import Image

from opensora_core.evaluation import ClipShape, evaluate_text, held_out_cases
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.synthetic.world import EASY
from tests.cli.conftest import document

FEW = ("--n", 2, "--backend", "numpy", "--world", "easy")


def test_the_numbers_are_those_of_the_library(opensora, nano):
    told = document(opensora("evaluate", "-m", nano, *FEW, "--json", "--steps", 3, "--contact-sheet", "sheet.png"))
    model = OpenSora.from_pretrained(nano, backend="numpy")
    cases = held_out_cases(EASY, 2, seed=0)
    report = evaluate_text(model, EASY, cases, ClipShape.of(model.config), num_inference_steps=3)
    for bound in ("generated", "real", "mismatched"):
        assert told[bound] == getattr(report, bound).to_dict()
    assert (told["n"], told["task"], told["num_inference_steps"], told["guidance_scale"]) == (2, "text", 3, 7.5)
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 2 * 5 * 96


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("text", ["share right", "generated", "real renders", "other prompts"]),
        ("image", ["given frame kept at 100.0 dB", "real renders"]),
        ("extend", ["seam difference", "the 1 given frames are unchanged"]),
    ],
)
def test_each_task_has_its_lines(opensora, nano, task, words):
    result = opensora("evaluate", "-m", nano, *FEW, "--task", task)
    assert result.exit_code == 0, result.stderr
    for word in words:
        assert word in result.stdout
    assert "evaluating 2/2" in result.stderr
    assert opensora("evaluate", "-m", nano, *FEW, "--task", task, "-q").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--world", "mars"], "mars"),
        (["--task", "juggle"], "juggle"),
        (["--n", "0"], "--n"),
        (["--steps", "0"], "num_inference_steps=0"),
        (["--contact-sheet", "sheet.mp4"], ".mp4"),
        (["--task", "extend", "--num-frames", "1"], "at least 2 frames"),
    ],
)
def test_bad_questions_are_refused(opensora, nano, arguments, word):
    result = opensora("evaluate", "-m", nano, "--backend", "numpy", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert word in result.stderr
