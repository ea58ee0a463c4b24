"""Without gradients Torch writes in place and reads q and k together: the same numbers, and nothing of the caller's."""

import numpy as np
import pytest
import torch

from opensora_core import get_backend

OPS, NUMPY = get_backend("torch", dtype="float64"), get_backend("numpy", dtype="float64")


def drawn(*shape):
    return torch.from_numpy(np.random.default_rng(len(shape)).standard_normal(shape))


@pytest.mark.parametrize("pattern", ["spatial", "temporal", "full"])
@pytest.mark.parametrize("rope", [False, True])
def test_attention_of_video_tokens_is_what_gradients_go_through(pattern, rope):
    T, S = 3, 4
    length = {"spatial": S, "temporal": T, "full": T * S}[pattern]
    args = [drawn(2, T, S, 3, 2, 4), pattern, drawn(4), drawn(4) + 3]
    args += [drawn(length, 2), drawn(length, 2) + 1] if rope else []
    given = args[0].clone()
    free = OPS.attention_3d(*args)
    assert torch.equal(args[0], given)
    learning = OPS.attention_3d(given.requires_grad_(), *args[1:])
    assert learning.requires_grad
    np.testing.assert_allclose(free, learning.detach(), rtol=1e-11)
    truth = NUMPY.attention_3d(*(a.numpy() if isinstance(a, torch.Tensor) else a for a in args))
    np.testing.assert_allclose(free, truth, rtol=1e-11)


def test_gelu_leaves_its_input_and_keeps_gradients():
    x = torch.tensor([-1e3, -3.0, -0.0, 0.5, 40.0], dtype=torch.float64)
    given = x.clone()
    np.testing.assert_allclose(OPS.gelu(x), NUMPY.gelu(x.numpy()), rtol=1e-11, atol=1e-300)
    assert torch.equal(x, given)
    slope = torch.autograd.functional.jacobian(OPS.gelu, x).diagonal()
    assert slope[0] == 0
    assert slope[2:].tolist() == pytest.approx([0.5, 0.867370, 1.0], abs=1e-4)


def test_a_row_that_reads_nothing_is_zero_beside_one_that_reads():
    q, mask = drawn(1, 1, 2, 4), torch.tensor([[True, True], [False, False]])
    got = OPS.attention(q, q, q, mask)
    assert not got[0, 0, 1].any()
    torch.testing.assert_close(got[:, :, :1], OPS.attention(q[:, :, :1], q, q))
