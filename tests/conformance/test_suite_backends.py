"""Every interpreter of the language that comes with the library conforms, on every level."""

from functools import partial

import pytest
import torch

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.autodiff import Autodiff
from opensora_core.interpose import WHOLE, Interposer, Strict
from opensora_core.testing.conformance import conformance_tests
from opensora_core.testing.running import vanilla


@pytest.fixture(autouse=True)
def _without_a_compiler(monkeypatch):
    """Functions are traced and differentiated as in production; only the C++ compiler, which is slow, is left out."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


test_numpy = conformance_tests("numpy")
test_numba = conformance_tests("numba")
test_torch = conformance_tests("torch")
test_vanilla = conformance_tests("vanilla")
test_strict = conformance_tests("strict")
test_tape = conformance_tests("tape")
test_torch_primitives = conformance_tests(vanilla(TorchOps), level="ops")
test_strict_over_fused_ops = conformance_tests(Strict(NumpyOps(), units=WHOLE), level="ops")
test_interposer_over_torch = conformance_tests(Interposer(TorchOps(), units=WHOLE), level="ops", only="ops/a")
test_tape_over_torch = conformance_tests(Autodiff(TorchOps()), level="model", only="model")
