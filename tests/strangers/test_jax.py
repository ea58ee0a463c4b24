"""A backend as a stranger would write it: short, found by name, conforming, and the same video in the end."""

import re
from pathlib import Path

import numpy as np
import pytest

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.testing.conformance import conformance_tests, require

BACKEND = "opensora_jax:JaxOps"
PACKAGE = Path(__file__).parent / "opensora_jax"
CODE = (PACKAGE / "opensora_jax.py").read_text()
PAGE = (Path(__file__).parents[2] / "docs" / "write-a-backend.md").read_text()


@pytest.fixture(autouse=True)
def _needs_jax():
    require("jax")


# JAX compiles every op for every shape, so few calls are drawn here; `opensora conformance` draws 30 in four dtypes.
test_ops = conformance_tests(BACKEND, level="ops", examples=2)
test_known = conformance_tests(BACKEND, level="ops", only="ops/tanh", xfail=PACKAGE / "known.txt")
test_model = conformance_tests(BACKEND, level="model", examples=1, dtypes=["float32"], only="model/")
test_blocks = conformance_tests(BACKEND, level="blocks", examples=1, dtypes=["bfloat16"], only="blocks/")


def test_the_embedded_model_generates_what_it_does_on_numpy(distance_to_numpy):
    assert distance_to_numpy(BACKEND) <= 1e-4


def test_64_bits_are_kept_and_so_is_the_setting_of_the_program():
    import jax

    ops = get_backend(BACKEND)
    x = ops.asarray(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(ops.to_numpy(x * 0.1), np.array([1.0, 3.0]) * 0.1)
    assert ops.dtype_name(ops.arange(3, "int64")) == "int64"
    assert not jax.config.jax_enable_x64
    assert jax.numpy.arange(3).dtype == "int32"


@pytest.mark.parametrize("device", ["abacus", "cpu:99", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(InvalidInputError, match=f"jax has no device '{device}' here"):
        get_backend(BACKEND, device=device)


def test_the_page_about_it_shows_the_code_as_it_is():
    blocks = {language: re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S) for language in ("py", "toml")}
    assert [block for block in blocks["py"] if block not in CODE] == []
    assert [block for block in blocks["toml"] if block not in (PACKAGE / "pyproject.toml").read_text()] == []
    assert len(blocks["py"]) >= 8


def test_the_page_about_it_shows_the_list_as_it_is():
    assert f"```text\n{(PACKAGE / 'known.txt').read_text()}```" in PAGE


def test_it_is_as_short_as_the_page_says():
    assert len([line for line in CODE.splitlines() if line.strip()]) < 150
    assert "150 lines" in PAGE


def test_an_installed_backend_is_found_by_its_name(run_installed):
    code = "import opensora_core; ops = opensora_core.get_backend('jax'); print(ops.to_numpy(ops.arange(3)))"
    assert run_installed("opensora_jax", code) == "[0. 1. 2.]\n"
