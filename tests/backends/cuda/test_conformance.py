"""The CUDA backend's host code conforms, with NumPy in CuPy's place."""

from __future__ import annotations

from opensora_core.testing.conformance import conformance_tests
from tests.backends.cuda.fake import FakeCudaOps

test_ops = conformance_tests(FakeCudaOps, level="ops", examples=3)
