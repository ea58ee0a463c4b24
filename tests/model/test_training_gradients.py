"""The gradients of the real training objective: the tape on NumPy, Numba and Torch against Torch's own autograd."""

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.autodiff import Autodiff
from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.interpose import Strict
from opensora_core.module import rebuild, state_dict, to_backend
from opensora_core.nn.init import RandomInit
from opensora_core.registry import get_backend
from opensora_core.testing.conformance import require
from opensora_core.training.objective import training_loss

B, T, WORDS = 2, 3, 6
CONFIG = STDiT3Config(hidden_size=32, depth=1, num_heads=2, caption_channels=8, model_max_length=WORDS)
RNG = np.random.default_rng(0)
MODEL = STDiT3.create(CONFIG, RandomInit(0))
PARAMS = {
    name: np.asarray(
        p + 0.05 * RNG.standard_normal(p.shape), np.float32
    )  # the zero-initialized gates must not hide rules
    for name, p in state_dict(MODEL).items()
}
BATCH = {
    "latents": RNG.standard_normal((B, 4, T, 4, 6)).astype(np.float32),
    "noise": RNG.standard_normal((B, 4, T, 4, 6)).astype(np.float32),
    "t": np.array([300.0, 700.0], np.float32),
    "text": RNG.standard_normal((B, WORDS, 8)).astype(np.float32),
    "text_mask": np.arange(WORDS) < np.array([[3], [WORDS]]),
    "drop": np.array([False, True]),
    "fps": np.array([24.0, 8.0], np.float32),
    "x_mask": np.arange(T) >= np.array([[0], [1]]),
}


def own(ops):
    return ops.value_and_grad


def tape(ops):
    return Autodiff(ops).differentiate


def in_dtype(arrays, dtype):
    return {name: np.asarray(a, dtype) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def loss_and_gradients(ops, differentiate):
    model = to_backend(ops, rebuild(MODEL, in_dtype(state_dict(MODEL), ops.dtype)))
    batch = {name: ops.asarray(x) for name, x in in_dtype(BATCH, ops.dtype).items()}
    loss, grads = differentiate(ops)(
        lambda o, p: training_loss(o, rebuild(model, p), batch, height=32.0, width=48.0),
        {name: ops.asarray(p) for name, p in in_dtype(PARAMS, ops.dtype).items()},
    )
    return float(ops.to_numpy(loss)), {name: ops.to_numpy(g) for name, g in grads.items()}


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize(("backend", "way"), [("numpy", own), ("strict", own), ("numba", own), ("torch", tape)])
def test_the_tape_agrees_with_native_autograd_on_the_training_loss(backend, way, dtype, limit):
    if backend == "numba":
        require(backend)
    ops = Strict(NumpyOps(dtype=dtype)) if backend == "strict" else get_backend(backend, dtype=dtype)
    expected, native = loss_and_gradients(get_backend("torch", dtype=dtype), own)
    loss, grads = loss_and_gradients(ops, way)
    assert loss == pytest.approx(expected, rel=limit)
    assert set(grads) == set(PARAMS)
    for name, g in native.items():
        assert grads[name].dtype == g.dtype == dtype
        assert np.linalg.norm(grads[name] - g) <= limit * np.linalg.norm(g), name
