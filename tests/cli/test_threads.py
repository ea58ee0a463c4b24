"""Small models are computed by one thread, unless the user or the size says otherwise."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from opensora_core.cli.threads import SMALL, VARIABLES
from tests.cli.conftest import process_arguments


def threads(before, model, **environment):
    """OPENBLAS_NUM_THREADS after `limit_threads` in a fresh process."""
    code = f"{before}; import os; from opensora_core.cli.threads import limit_threads; limit_threads({model!r}); "
    settings = process_arguments([])
    settings["env"] = {k: v for k, v in settings["env"].items() if k not in VARIABLES} | environment
    code += "print(os.environ.get('OPENBLAS_NUM_THREADS'))"
    done = subprocess.run([settings["args"][0], "-c", code], env=settings["env"], capture_output=True, text=True)
    return done.stdout.strip()


def test_small_models_get_one_thread():
    assert threads("pass", None) == "1"
    assert threads("pass", "folder-that-is-missing") == "1"


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
def test_the_users_number_stands(name):
    assert threads("pass", None, **{name: "7"}) == ("7" if name == "OPENBLAS_NUM_THREADS" else "None")


def test_large_models_and_a_numpy_that_has_read_the_number_are_left_alone():
    Path("large").mkdir()
    with open("large/model.safetensors", "wb") as file:
        os.truncate(file.fileno(), SMALL + 1)
    assert threads("pass", "large") == "None"
    assert threads("import numpy", None) == "None"
