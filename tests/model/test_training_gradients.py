"""The gradients of the real training objective: the tape on NumPy, under Strict, against Torch's own autograd."""

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.interpose import Strict
from opensora_core.module import rebuild, state_dict, to_backend
from opensora_core.nn.init import RandomInit
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


def loss_and_gradients(ops):
    model, batch = to_backend(ops, MODEL), {name: ops.asarray(x) for name, x in BATCH.items()}
    loss, grads = ops.value_and_grad(
        lambda o, p: training_loss(o, rebuild(model, p), batch, height=32.0, width=48.0),
        {name: ops.asarray(p) for name, p in PARAMS.items()},
    )
    return float(ops.to_numpy(loss)), {name: ops.to_numpy(g) for name, g in grads.items()}


@pytest.mark.parametrize("ops", [NumpyOps(), Strict(NumpyOps())], ids=lambda ops: ops.name)
def test_the_tape_agrees_with_native_autograd_on_the_training_loss(ops):
    expected, native = loss_and_gradients(TorchOps())
    loss, grads = loss_and_gradients(ops)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert set(grads) == set(PARAMS)
    for name, g in native.items():
        assert np.linalg.norm(grads[name] - g) <= 2e-5 * np.linalg.norm(g) + 1e-8, name
