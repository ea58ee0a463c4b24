"""Two backends as others would write them: found by name, right op by op, and NumPy's video in the end."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora_backends.numpy_ops import NumpyOps
from opensora_core import OpenSora, get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.ops import HALF, PRIMITIVES, Ops
from opensora_core.testing.judge import arrays_in, check, vanilla
from opensora_core.testing.table import TABLE

FOLDER = Path(__file__).parent
JAX, ARRAY_API = "opensora_jax:JaxOps", "opensora_array_api:ArrayApiOps"
FRAMEWORK = {JAX: "jax", ARRAY_API: "array_api_strict"}
EXAMPLES = {JAX: 1, ARRAY_API: 8}  # JAX compiles every op for every shape
INACCURATE = {("tanh", "float64"): "3.6 units in the last place", ("tanh", "float32"): "3.8 units in the last place"}
REFERENCE = vanilla(NumpyOps)()


@pytest.fixture(params=FRAMEWORK, scope="module")
def stranger(request):
    pytest.importorskip(FRAMEWORK[request.param])
    return request.param


@pytest.fixture
def jax():
    return pytest.importorskip("jax")


def needs_half(call, dtype):
    """Whether half precision is asked for: by an array that stands for that dtype, or by name."""
    arrays = any(x.dtype == np.float64 for x in arrays_in(list(call.args)))
    return (dtype in HALF and arrays) or any(arg in HALF for arg in call.args if isinstance(arg, str))


@pytest.mark.parametrize("name", TABLE)
def test_an_op_agrees_with_the_truth(stranger, name):
    case, ops = TABLE[name], get_backend(stranger)

    @settings(max_examples=EXAMPLES[stranger])
    @given(data=st.data())
    def run(data):
        call = data.draw(case.calls)
        for dtype in case.dtypes:
            if stranger == JAX and (name, dtype) in INACCURATE:
                continue
            if stranger == ARRAY_API and needs_half(call, dtype):
                with pytest.raises(InvalidInputError, match=r"has no b?float16; take float32 or float64"):
                    check(ops, REFERENCE, case, call, dtype)
            else:
                check(ops, REFERENCE, case, call, dtype)

    run()


def last_latents(model):
    steps = list(model.stream("a red circle moves right on a blue background", seed=0))
    return np.asarray(model.ops.to_numpy(steps[-2].latents), np.float64)


@pytest.fixture(scope="module")
def numpys_latents():
    return last_latents(OpenSora.from_pretrained(backend="numpy", dtype="float32"))


def test_the_embedded_model_generates_what_it_does_on_numpy(stranger, numpys_latents):
    latents = last_latents(OpenSora.from_pretrained(backend=stranger, dtype="float32"))
    assert np.linalg.norm(latents - numpys_latents) <= 1e-4 * np.linalg.norm(numpys_latents)


def test_jax_keeps_64_bits_and_the_program_its_own_setting(jax):
    ops = get_backend(JAX)
    x = ops.asarray(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(ops.to_numpy(x * 0.1), np.array([1.0, 3.0]) * 0.1)
    assert ops.dtype_name(ops.arange(3, "int64")) == "int64"
    assert not jax.config.jax_enable_x64
    assert jax.numpy.arange(3).dtype == "int32"


def test_a_device_or_dtype_that_is_not_there_is_refused(stranger):
    for device in ("abacus", "cpu:99", "cpu:x"):
        with pytest.raises(InvalidInputError, match=device):
            get_backend(stranger, device=device)
    if stranger == ARRAY_API:
        with pytest.raises(InvalidInputError, match="has no bfloat16; take float32 or float64"):
            get_backend(stranger, dtype="bfloat16")


def test_a_backend_is_short_and_implements_every_primitive(stranger):
    module = stranger.partition(":")[0]
    lines = (FOLDER / module / f"{module}.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 120
    inner = type(get_backend(stranger).inner)
    assert [p for p in PRIMITIVES if getattr(inner, p) is getattr(Ops, p)] == []


def test_an_installed_backend_is_found_by_its_name(stranger, tmp_path):
    folder = shutil.copytree(FOLDER / stranger.partition(":")[0], tmp_path / "package")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", tmp_path / "site", folder], check=True, timeout=120)
    code = "import sys, opensora_core; ops = opensora_core.get_backend(sys.argv[1]); print(ops.to_numpy(ops.arange(3)))"
    name = FRAMEWORK[stranger]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path += {[str(tmp_path / 'site'), *sys.path]}; {code}", name],
        capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert run.stdout == "[0. 1. 2.]\n"
