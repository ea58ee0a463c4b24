"""The CUDA backend's host code and kernels conform, with NumPy in CuPy's place and the kernels emulated."""

from __future__ import annotations

import numpy as np

from opensora_core import OpenSora
from opensora_core.testing.conformance import conformance_tests
from opensora_core.testing.running import vanilla
from opensora_kernels.cupy_on_cpu import STATE
from tests.backends.cuda.fake import FakeCudaOps

HALF_AND_SINGLE = ("float32", "bfloat16")

test_ops = conformance_tests(FakeCudaOps, level="ops", examples=3)
test_compositions = conformance_tests(vanilla(FakeCudaOps), level="ops", examples=1, only="ops/attention")
test_blocks = conformance_tests(FakeCudaOps, only="blocks", examples=1, dtypes=HALF_AND_SINGLE)
test_model = conformance_tests(FakeCudaOps, only="model", examples=1, dtypes=HALF_AND_SINGLE)
test_training = conformance_tests(FakeCudaOps, only="train", examples=1, dtypes=HALF_AND_SINGLE)


def test_a_model_generates_the_video_that_numpy_generates(nano):
    def generate(backend):
        model = OpenSora.from_pretrained(nano, backend=backend)
        return model.generate_from_text("a red circle moves right", num_inference_steps=3, seed=0).frames.astype(int)

    STATE.launches.clear()
    frames = generate(FakeCudaOps())
    assert any(name.startswith("temporal_attention_plain<float>") for name in STATE.launches)
    assert np.abs(frames - generate("numpy")).max() <= 1
