"""What lockstep is made of: differences, the ratio rule, places, pairs."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.interpose import Lockstep
from opensora_core.interpose.difference import SAME, difference
from opensora_core.interpose.lockstep_rule import RatioRule
from opensora_core.interpose.places import Places
from opensora_core.module import named_modules
from opensora_core.nn.layers import Linear, Mlp

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 6, 8)).astype(np.float32)
W = RNG.standard_normal((8, 8)).astype(np.float32)
MASK = np.arange(6)[None] < np.array([[6], [0]])  # the second row may attend to nothing


def test_differences_are_relative_to_the_reference():
    a = np.array([3.0, 4.0], np.float32)
    assert difference(a, a.copy()) is SAME
    assert difference(a, a + np.float32([0, 0.5])) == (0.5, 0.1, "")
    assert difference(np.zeros(2), a).rel_l2 == np.inf
    assert difference(np.zeros(0), np.zeros(0)) == SAME
    assert difference(np.array(True), np.array(False)) == (1.0, 1.0, "")
    assert difference(a, a[None]).note == "shape [1, 2], not [2]"


def test_a_sum_is_measured_by_its_operands():
    big, near = np.array([1000.0]), np.array([999.0])
    assert difference(big - near, np.array([1.1])).rel_l2 == pytest.approx(0.1)
    assert difference(big - near, np.array([1.1]), [big, near]).rel_l2 == pytest.approx(1e-4)


def test_numbers_that_are_not_finite_must_agree():
    a = np.array([np.nan, np.inf, 1.0])
    assert difference(a, a.copy()) is SAME
    assert difference(a, np.array([np.nan, np.inf, 1.5])).max_abs == 0.5
    for wrong in ([0.0, np.inf, 1.0], [np.nan, -np.inf, 1.0], [np.nan, np.inf, np.nan]):
        assert "not finite" in difference(a, np.array(wrong)).note


CALLS = {
    "linear": (X, W, W[0]),
    "softmax": (X * 5, -1),
    "layer_norm": (X, W[0], W[1], 1e-6),
    "rms_norm": (X, W[0], 1e-6),
    "gelu": (X, "tanh"),
    "silu": (X,),
    "attention": (X[:, None], X[:, None], X[:, None], MASK[:, None, None], None),
    "matmul": (X, W),
    "sum": (X, (0, 2), False),
    "concat": ([X, X], 1),
    "astype": (X, "bfloat16"),
    "asarray": (X.astype(np.float64) / 3, "float32"),
    "cos": (X * 100,),
}


@pytest.mark.parametrize("op", CALLS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_the_rule_lets_torch_pass_and_no_error_that_shows(op, dtype):
    def cast(x):
        if isinstance(x, list):
            return [cast(item) for item in x]
        return x.astype(np.dtype(dtype)) if isinstance(x, np.ndarray) and x.dtype == np.float32 else x

    args, ours, theirs = tuple(map(cast, CALLS[op])), NumpyOps(), TorchOps()
    onto = [[theirs.asarray(y) for y in x] if isinstance(x, list) else x for x in args]
    onto = [theirs.asarray(x) if isinstance(x, np.ndarray) else x for x in onto]
    reference, candidate = getattr(ours, op)(*args), theirs.to_numpy(getattr(theirs, op)(*onto))
    rule = RatioRule()
    assert rule.judge(op, args, reference, candidate) is None
    step = 16 * float(ml_dtypes.finfo(reference.dtype).eps)
    wrong = (candidate.astype(np.float64) * (1 + 4 * step)).astype(reference.dtype)
    if op != "cos":  # of a hundred radians, whose own rounding moves the result
        for times in range(2):  # the second time by what was allowed the first time
            errors = rule.judge(op, args, reference, wrong)
            assert errors.guilty == "candidate", times
        assert rule.judge(op, args, wrong, reference).guilty == "reference"


@pytest.mark.parametrize("op", ["reshape", "permute_dims", "slice", "where", "less"])
def test_moving_numbers_excuses_no_rounding(op):
    args = {
        "reshape": (X, (-1,)),
        "permute_dims": (X, (2, 0, 1)),
        "slice": (X, (0, 0, 1), (2, 6, 8), (1, 2, 3)),
        "where": (MASK[..., None], X, 0.5),
        "less": (X, 0.0),
    }[op]
    right = getattr(NumpyOps(), op)(*args)
    wrong = np.logical_not(right) if right.dtype == bool else np.nextafter(right, np.float32(9))
    assert RatioRule().judge(op, args, right, right) is None
    assert RatioRule().judge(op, args, right, wrong).allowed == 0.0


@dataclass(frozen=True)
class Tree:
    """Two perceptrons and a matrix."""

    parts: tuple[Mlp, ...]
    last: Linear

    def apply(self, ops, x):
        for part in self.parts:
            x = part(ops, x)
        return self.last(ops, x) + x


def perceptron():
    return Mlp(Linear(W, W[0]), Linear(W, None))


def test_modules_are_named_as_the_state_dict_names_them():
    tree = Tree((perceptron(), perceptron()), Linear(W))
    mlp = ["", ".fc1", ".fc2"]
    names = [f"parts.{i}{part}" for i in range(2) for part in mlp] + ["last"]
    assert [name for name, _ in named_modules(tree)] == names


def test_the_place_of_an_op_is_the_innermost_module_that_runs():
    class Recorder(Lockstep):
        seen = ()

        def process(self, op, args):
            self.seen += (str(self.places.here()).partition(":")[0],)
            return super().process(op, args)

    tree, ops = Tree((perceptron(),), Linear(W)), Recorder(NumpyOps(), NumpyOps())
    ops.places.add(tree, "model.")
    tree.apply(ops, ops.asarray(X))
    layers = "(opensora_core/nn/layers.py"
    here = "test_the_place_of_an_op_is_the_innermost_module_that_runs (interpose/test_lockstep.py"
    modules = ["parts.0.fc1", "parts.0", "parts.0.fc2", "last"]
    assert ops.seen == (here, *(f"model.{name} {layers}" for name in modules), "Tree.apply (interpose/test_lockstep.py")
    assert Places().here().module == ""


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("denoiser.spatial_blocks.2.attn.qkv", "denoiser.spatial_blocks.2"),
        ("denoiser.t_embedder.mlp.0", "denoiser.t_embedder"),
        ("codec", "codec"),
        ("", "(euler)"),
    ],
)
def test_places_are_gathered_by_block(module, block):
    from opensora_core.interpose.places import Place

    assert Place(module, "euler", "file.py:1").block == block


@pytest.mark.parametrize(("reference", "candidate"), [(NumpyOps, TorchOps), (TorchOps, NumpyOps)])
def test_values_of_any_kind_reach_both_sides(reference, candidate):
    ops = Lockstep(reference(), candidate())
    x = ops.asarray(X[:, ::-1])
    for dtype in ("bfloat16", bool, np.float64, np.dtype("float16"), x.dtype, reference().asarray(X).dtype):
        assert ops.astype(x, dtype).shape == x.shape
    half = ops.astype(x, "bfloat16")
    assert (half.dtype, ops.dtype_name(half)) == ("bfloat16", "bfloat16")
    constant = ops.inner.asarray(X)  # an array of the reference beside a pair
    total = ops.concat([x * constant, ops.broadcast_to(x[:1], x.shape)], axis=1)
    assert ops.compare(total).rel_l2 < 1e-7
    assert isinstance(ops.to_numpy(total), np.ndarray)
    assert ops.first is None


@pytest.mark.parametrize("mode", ["own", "reference"])
def test_gradients_can_be_compared_too(mode):
    ops = Lockstep(NumpyOps("cpu", "float64"), TorchOps("cpu", "float64"), mode=mode)
    params = {"w": ops.asarray(W.astype(np.float64)), "x": ops.asarray(X.astype(np.float64))}

    def energy(ops, params):
        h = ops.gelu(ops.linear(params["x"], params["w"]))
        return ops.sum(h * h)

    value, grads = ops.value_and_grad(energy, params)
    expected, same = NumpyOps("cpu", "float64").value_and_grad(energy, {n: ops.to_numpy(p) for n, p in params.items()})
    assert ops.to_numpy(value) == pytest.approx(expected)
    for name, gradient in grads.items():
        np.testing.assert_allclose(ops.to_numpy(gradient), same[name], rtol=1e-9)
        assert ops.compare(gradient).rel_l2 < 1e-12
    assert ops.first is None
