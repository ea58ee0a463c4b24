"""Every test begins with the first device, no memory limit and nothing captured."""

from __future__ import annotations

import pytest

from opensora_kernels.cupy_on_cpu.state import STATE
from tests.backends.cuda.fake import FakeCudaOps


@pytest.fixture(autouse=True)
def _fresh():
    STATE.device, STATE.limit, STATE.capture = 0, 0, None
    yield
    STATE.device, STATE.limit, STATE.capture = 0, 0, None


@pytest.fixture
def ops():
    return FakeCudaOps()


@pytest.fixture
def launches():
    """Names of the kernels that the test launches."""
    STATE.launches.clear()
    return STATE.launches
