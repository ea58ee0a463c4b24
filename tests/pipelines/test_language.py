"""The whole of generation stays within the language, in every dtype."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.interpose import Strict
from opensora_core.pipelines.opensora import OpenSora
from tests.pipelines.models import NANO, PROMPT, make

LEVELS = {"float16": 6, "bfloat16": 28}  # of 255: Torch's own fused ops round otherwise than their compositions


@pytest.mark.parametrize("backend", [NumpyOps, TorchOps])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_strict_refuses_nothing_and_changes_little(backend, dtype):
    strict, plain = (OpenSora(NANO, backend=ops) for ops in (Strict(backend(dtype=dtype)), backend(dtype=dtype)))
    image = np.random.default_rng(0).integers(0, 256, (13, 20, 3), np.uint8)
    for model in (strict, plain):
        model.load_state_dict(make().state_dict())
    settings = {"num_frames": 6, "height": 13, "width": 20, "num_inference_steps": 2, "seed": 0}
    made = [model.generate_from_image(image, PROMPT, **settings).frames.astype(int) for model in (strict, plain)]
    assert np.abs(made[0] - made[1]).max() <= LEVELS.get(dtype, 1)
    assert strict.predict(strict.encode(image[None]), timestep=500.0, prompt=PROMPT).dtype.name.startswith("float")
