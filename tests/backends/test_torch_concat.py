"""What was cut from one vector is that vector again, without a copy; everything else is joined anew."""

import torch

from opensora_core.registry import get_backend

OPS = get_backend("torch", dtype="float32")


def test_pieces_of_a_vector_are_joined_without_a_copy():
    vector = torch.arange(10.0)
    pieces = [vector[2:5], vector[5:6], vector[6:10].reshape(2, 2).reshape(-1)]
    joined = OPS.concat(pieces)
    assert joined.data_ptr() == pieces[0].data_ptr()
    assert joined.tolist() == vector[2:].tolist()


def test_other_vectors_are_copied():
    vector = torch.arange(10.0)
    for pieces in (
        [vector[5:], vector[:5]],
        [vector[:3], vector[4:]],
        [vector[:4:2], vector[4:]],
        [vector, vector.clone()],
    ):
        joined = OPS.concat(pieces)
        assert joined.data_ptr() not in {piece.data_ptr() for piece in pieces}
        assert joined.tolist() == [number for piece in pieces for number in piece.tolist()]


def test_gradients_pass_through_pieces():
    vector = torch.arange(4.0, requires_grad=True)
    joined = OPS.concat([vector[:2], vector[2:]])
    (joined * joined).sum().backward()
    assert vector.grad.tolist() == [0, 2, 4, 6]
