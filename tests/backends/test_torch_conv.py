"""Convolutions of videos of few rows on Torch are oneDNN's, and give what Torch's own kernel gives, gradients too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from opensora_backends.torch_ops import TorchOps
from opensora_core.random import normal

SHAPE, KERNEL = (1, 6, 4, 15, 128), (3, 6, 3, 3, 3)
PARTS = {"stride": (2, 1, 2), "padding": (0, 1, 1)}


def test_they_and_their_gradients_are_those_of_torch():
    given = [
        torch.from_numpy(0.1 * normal(0, name, 0, shape)) for name, shape in (("x", SHAPE), ("w", KERNEL), ("b", (3,)))
    ]
    ours, truth = [x.clone().requires_grad_() for x in given], [x.double().requires_grad_() for x in given]
    found, expected = TorchOps().conv(*ours, **PARTS), F.conv3d(*truth, **PARTS)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(found, expected.float())
    for x, y in zip(ours, truth, strict=True):
        torch.testing.assert_close(x.grad, y.grad.float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_patches_are_not_copied(dtype):
    x, weight, bias = (torch.ones(shape, dtype=dtype) for shape in (SHAPE, KERNEL, (3,)))
    with torch.profiler.profile() as profile:
        TorchOps().conv(x, weight, bias)
    names = {event.name for event in profile.events()}
    assert ("aten::slow_conv3d_forward" in names) == (dtype == torch.float64)  # oneDNN has no float64
