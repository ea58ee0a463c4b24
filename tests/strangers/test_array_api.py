"""The array API standard is enough: a backend of primitives in its words conforms, and generates the same video."""

from pathlib import Path

import pytest

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.testing.conformance import conformance_tests, require

BACKEND = "opensora_array_api:ArrayApiOps"


@pytest.fixture(autouse=True)
def _needs_array_api_strict():
    require("array_api_strict")


test_conformance = conformance_tests(BACKEND, dtypes=["float64", "float32"], examples=8)


def test_the_embedded_model_generates_what_it_does_on_numpy(distance_to_numpy):
    assert distance_to_numpy(BACKEND) <= 1e-4


def test_half_precision_is_refused():
    with pytest.raises(InvalidInputError, match="has no bfloat16; take float32 or float64"):
        get_backend(BACKEND, dtype="bfloat16")
    ops = get_backend(BACKEND)
    with pytest.raises(InvalidInputError, match="has no float16; take float32 or float64"):
        ops.astype(ops.full((2,), 1.0), "float16")


def test_another_device_is_refused():
    with pytest.raises(InvalidInputError, match="runs on device 'cpu', not 'cuda:0'"):
        get_backend(BACKEND, device="cuda:0")


def test_it_is_short_and_overrides_no_fused_op():
    code = (Path(__file__).parent / "opensora_array_api" / "opensora_array_api.py").read_text()
    assert len([line for line in code.splitlines() if line.strip()]) < 150
    assert get_backend(BACKEND).units == frozenset()


def test_an_installed_backend_is_found_by_its_name(run_installed):
    code = "import opensora_core; print(opensora_core.get_backend('array_api_strict').name)"
    assert run_installed("opensora_array_api", code) == "array_api_strict\n"
