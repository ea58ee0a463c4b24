"""The program as a process: what a shell, a pipe, a terminal and Ctrl-C see of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import process_arguments

PROMPT = "a red circle walks to the right"
HEAVY = ("numpy", "torch", "av", "PIL", "rich", "opensora_core.pipelines", "opensora_core.ops")
ENDLESS = ("--steps", 10_000, "--num-frames", 1000)  # hours


def wait_for(process, text):
    """Read stderr until a line says `text`."""
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"it never said {text!r}")


def start(*arguments):
    """Start the program, its output in pipes."""
    return subprocess.Popen(
        **process_arguments(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_help_loads_nothing_heavy_and_names_every_verb(process):
    code = f"import sys; from opensora_core.cli.app import app; print([m for m in {HEAVY} if m in sys.modules])"
    settings = process_arguments([])
    assert subprocess.run([settings["args"][0], "-c", code], env=settings["env"], capture_output=True).stdout == b"[]\n"
    done = process("--help", COLUMNS="100")
    assert done.returncode == 0
    for verb in (
        "generate",
        "animate",
        "extend",
        "info",
        "backends",
        "warmup",
        "doctor",
        "verify",
        "train",
        "evaluate",
    ):
        assert verb in done.stdout


def test_stdout_is_one_json_document_and_nothing_else(process, nano):
    done = process("generate", PROMPT, "-m", nano, "--json", OPENSORA_BACKEND="numpy")
    assert json.loads(done.stdout)["num_frames"] == 5
    assert done.stderr == "note: unknown to this model: walks\n"
    done = process("info", nano, "--json")
    assert json.loads(done.stdout)["path"] == nano


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_generation_leaves_nothing_behind(nano, sent):
    process = start("generate", PROMPT, "-m", nano, "--backend", "numpy", *ENDLESS, "-o", "out.mp4")
    wait_for(process, "note: ")  # of the unknown word: the work is about to begin
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == (130 if sent == signal.SIGINT else 143)
    assert stdout == ""
    assert "Traceback" not in stderr
    assert stderr == ("error: interrupted\n" if sent == signal.SIGINT else "")
    assert list(Path().iterdir()) == []


def test_an_interrupted_save_leaves_nothing_behind(nano, tmp_path):
    """Ctrl-C in the middle of encoding: sent by the encoder itself, after the first bytes."""
    code = (
        "import os, signal, time, opensora_core.media.encode as encode; import opensora_core.cli as cli\n"
        "def write(path, *rest): path.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n"
        "encode.write_mp4 = write; cli.main()"
    )
    settings = process_arguments(["generate", "a red circle", "-m", nano, "--backend", "numpy"])
    command = [settings["args"][0], "-c", code, *settings["args"][3:]]
    done = subprocess.run(command, env=settings["env"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_gone_is_no_error(nano):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(**process_arguments(["info", nano]), stdout=write, stderr=subprocess.PIPE, timeout=30)
    os.close(write)
    assert done.returncode == 141  # as a shell reports SIGPIPE
    assert done.stderr == b""


def on_terminal(nano, **environment):
    """Generate with stderr on a pseudo-terminal: stdout, and what the terminal showed."""
    main, terminal = os.openpty()
    settings = process_arguments(["generate", PROMPT, "-m", nano, "--backend", "numpy", "--steps", 200])
    settings["env"].update({"TERM": "xterm-256color", **environment})
    process = subprocess.Popen(**settings, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(main, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(main)
    stdout = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    return stdout.decode(), shown.decode()


def test_a_terminal_sees_a_bar_with_the_time_left_and_stdout_does_not(nano):
    stdout, shown = on_terminal(nano)
    assert stdout.startswith("out.mp4: 5 frames")
    assert len(stdout.splitlines()) == 1
    assert "generating" in shown
    assert "/200" in shown
    assert "0:00:0" in shown
    assert "\x1b[3" in shown, "colour"


def test_no_color_is_heeded(nano):
    _, shown = on_terminal(nano, NO_COLOR="1")
    assert "generating" in shown
    assert "\x1b[3" not in shown


def test_an_interrupted_training_is_saved_and_goes_on(nano, process, recipe):
    endless = recipe(steps=100_000)
    run = start("train", "-c", endless, "-o", "run", "--init", nano, "--backend", "numpy")
    while not Path("run/log.jsonl").exists() or len(Path("run/log.jsonl").read_text().splitlines()) < 3:
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=30)
    assert run.returncode == 130
    assert stdout == ""
    assert "--resume" in stderr
    steps = len(Path("run/log.jsonl").read_text().splitlines())
    assert sorted(p.name for p in Path("run").iterdir()) == ["log.jsonl", "model", "recipe.toml", f"step-{steps:08d}"]
    done = process("train", "-o", "run", "--resume", "--minutes", 0.001, "--backend", "numpy", "--json")
    told = json.loads(done.stdout)
    assert told["step"] == steps + told["steps_now"] > steps
