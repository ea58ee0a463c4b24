import inspect

import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.autodiff import Autodiff
from opensora_core.interpose import Interposer, Strict
from opensora_core.ops import FUSED, PRIMITIVES, Ops

CLASSES = [NumpyOps, TorchOps, Interposer, Strict, Autodiff]


def test_every_method_of_the_language_is_a_primitive_or_fused():
    public = {name for name in dir(Ops) if callable(getattr(Ops, name)) and not name.startswith("_")}
    assert public == {*PRIMITIVES, *FUSED, "dtype_name", "widen", "checkpoint"}
    assert len(PRIMITIVES) == len(set(PRIMITIVES)) == 34


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("name", [*PRIMITIVES, *FUSED, "checkpoint"])
def test_an_override_repeats_the_signature(cls, name):
    assert inspect.signature(getattr(cls, name)) == inspect.signature(getattr(Ops, name))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_primitive_is_implemented(cls):
    assert [name for name in PRIMITIVES if getattr(cls, name) is getattr(Ops, name)] == []


@pytest.mark.parametrize("cls", [NumpyOps, TorchOps])
def test_a_backend_adds_no_word(cls):
    assert {name for name in vars(cls) if not name.startswith("_")} <= {
        *PRIMITIVES,
        *FUSED,
        "checkpoint",
        "dtype_name",
        "name",
    }


@pytest.mark.parametrize("name", [*PRIMITIVES, *FUSED])
def test_every_op_says_what_it_does(name):
    assert inspect.getdoc(getattr(Ops, name))
