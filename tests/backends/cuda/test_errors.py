"""What can be missing or wrong on a machine is told in one line with its remedy, by the backend and by the doctor."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from opensora_backends import cuda_libraries
from opensora_backends.cuda_doctor import diagnose
from opensora_backends.cuda_libraries import Libraries, load_cupy
from opensora_core import get_backend, registry
from opensora_core.errors import InvalidInputError, LimitError, MissingDependencyError
from tests.backends.cuda.fake import FakeCudaOps, fake_libraries


def backend_on(**stand_in):
    return type("Ops", (FakeCudaOps,), {"libraries": staticmethod(lambda: fake_libraries(**stand_in))})


def rows_on(**stand_in):
    return {name: (status, text, remedy) for name, status, text, remedy in diagnose(lambda: fake_libraries(**stand_in))}


def test_without_cupy_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "cupy" else find(name, *a))
    with pytest.raises(MissingDependencyError, match=r"'cupy' is not installed: pip install 'opensora-core\[cuda\]'"):
        get_backend("cuda")
    assert list(diagnose()) == [
        ("cuda libraries", "warn", "CuPy is not installed; optional", "pip install 'opensora-core[cuda]'")
    ]


def fake_cupy(monkeypatch, **modules):
    """Let modules import as these objects; None is one that does not load."""
    for name in ("cupy", "cupy_backends.cuda.libs.nvrtc", "cupy_backends.cuda.libs.cublas", "cupyx.scipy.special"):
        monkeypatch.setitem(sys.modules, name, modules.get(name.rpartition(".")[2], SimpleNamespace(erf=None)))


def _no_nvrtc():
    raise RuntimeError('Failure finding "libnvrtc.so.13"\n  listdir(...)')


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ({"cupy": None}, "needs CuPy, which does not load"),
        ({"nvrtc": SimpleNamespace(getVersion=_no_nvrtc)}, r"needs NVRTC, .*\(Failure finding \"libnvrtc.so.13\"\)"),
        ({"nvrtc": SimpleNamespace(getVersion=lambda: (13, 0)), "cublas": None}, "needs cuBLAS, which does not load"),
    ],
)
def test_a_library_that_does_not_load_is_named_with_the_extra(monkeypatch, modules, says):
    fake_cupy(monkeypatch, **modules)
    with pytest.raises(MissingDependencyError, match=rf"{says}.*: pip install 'opensora-core\[cuda\]'$"):
        load_cupy()
    (row,) = diagnose(lambda: load_cupy())
    assert row[1] == "warn"
    assert row[3] == "pip install 'opensora-core[cuda]'"


@pytest.mark.parametrize(
    ("stand_in", "says"),
    [
        ({"driver": 0}, "no NVIDIA driver here: install one"),
        (
            {"driver": 12040},
            r"driver is too old: it supports CUDA 12.4, CuPy here runs on CUDA 13.0: update .* cupy-cuda12x",
        ),
        ({"devices": 0}, r"driver finds no GPU \(CUDA_VISIBLE_DEVICES=7\)"),
    ],
)
def test_a_machine_without_a_usable_gpu_says_why(monkeypatch, stand_in, says):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(InvalidInputError, match=says):
        backend_on(**stand_in)()
    status, text, remedy = rows_on(**stand_in)["cuda driver"]
    assert status == "warn"
    assert says.partition(":")[0].replace("\\", "").partition("(")[0].strip() in text + remedy


def test_an_unknown_failure_of_cuda_keeps_its_words(monkeypatch):
    lib = fake_libraries()

    def fail():
        raise lib.xp.cuda.runtime.CUDARuntimeError("cudaErrorSystemNotReady: system not yet initialized")

    monkeypatch.setattr(lib.xp.cuda.runtime, "getDeviceCount", fail)
    with pytest.raises(InvalidInputError, match=r"CUDA does not start: cudaErrorSystemNotReady.*nvidia-smi"):
        cuda_libraries.device_count(lib)


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("cpu", "runs on device 'cuda' or 'cuda:N', not 'cpu'"),
        ("cuda:x", "not 'cuda:x'"),
        ("cuda:", "not 'cuda:'"),
        ("cuda:2", "no device 'cuda:2' here: it has cuda:0 to cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_an_input_error(device, says):
    with pytest.raises(InvalidInputError, match=says):
        FakeCudaOps(device)


def test_an_old_gpu_is_refused_and_one_without_kernels_is_told_apart():
    with pytest.raises(InvalidInputError, match=r"capability 7.0, older than 7.5"):
        backend_on(arch=70)()
    assert backend_on(arch=75)().device == "cuda:0"
    assert rows_on(arch=75)["cuda:0"][0] == "warn"
    assert rows_on(arch=90)["cuda:1"] == ("ok", "compute capability 9.0, 8.0 of 16.0 GiB free", "")


def test_running_out_of_memory_says_how_much_was_asked_and_how_much_there_is(ops, monkeypatch):
    monkeypatch.setenv("OPENSORA_CUDA_MEMORY", "1KiB")
    ops = FakeCudaOps()
    says = (
        r"full does not fit into the GPU: out of memory allocating 4,096 bytes .*8.00 GiB of 16.00 GiB are free, "
        r".*limited to 0.00 MiB.*OPENSORA_CUDA_MEMORY"
    )
    with pytest.raises(LimitError, match=says):
        ops.full((1024,), 1.0)


def an_operator_in_a_loss(ops, x):
    ops.limit_memory("8")
    ops.value_and_grad(lambda tape, p: tape.sum(p["x"]) + (x * x)[0, 0], {"x": x})


def a_map_back(ops, x):
    def loss(tape, p):
        attended = tape.sum(tape.attention(*3 * [p["x"]]))
        ops.limit_memory("8")
        return attended

    ops.value_and_grad(loss, {"x": x})


def an_op_for_the_tape(ops, x):
    ops.limit_memory("8")
    ops.with_gradient("attention", (x, x, x, None, None))


def a_compiled_function(ops, x):
    ops.limit_memory("8")
    ops.compile(lambda a: a)(x)


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (an_operator_in_a_loss, "value_and_grad"),
        (a_map_back, "value_and_grad"),
        (an_op_for_the_tape, "with_gradient"),
        (a_compiled_function, "compile"),
    ],
)
def test_programs_that_run_out_of_memory_say_so_as_ops_do(ops, program, name):
    with pytest.raises(LimitError, match=f"^{name} does not fit into the GPU: out of memory allocating"):
        program(ops, ops.full((4, 6), 1.0))


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 2**33), ("8g", 2**33), ("1.5M", 3 * 2**19), ("4096", 4096), ("50%", 2**33), ("7 kb", 7168)],
)
def test_memory_limits_are_read(ops, text, size):
    assert ops.limit_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "0%", "101%", "8 GiBs"])
def test_what_is_no_amount_of_memory_is_refused(ops, text):
    with pytest.raises(InvalidInputError, match="expected such as 8GiB, 500M or 80%"):
        ops.limit_memory(text)


def test_arrays_of_two_devices_do_not_meet_until_brought_over():
    first, second = FakeCudaOps("cuda:0"), FakeCudaOps("cuda:1")
    x, w = first.full((2, 2), 1.0), second.full((2, 2), 2.0)
    assert (x.device.id, w.device.id) == (0, 1)
    with pytest.raises(InvalidInputError, match=r"this backend computes on cuda:0, one lies on cuda:1.*ops.asarray"):
        first.matmul(x, w)
    product = first.matmul(x, first.asarray(w))
    assert product.device.id == 0
    assert (first.to_numpy(product) == 4).all()


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("exp", lambda x, y, i: (y,)),
        ("add", lambda x, y, i: (x, y)),
        ("where", lambda x, y, i: (x < 0, x, y)),
        ("concat", lambda x, y, i: ([x, y],)),
        ("take", lambda x, y, i: (y, i)),
        ("index_add", lambda x, y, i: (x, i, y)),
        ("layer_norm", lambda x, y, i: (x, y[0])),
        ("attention_3d", lambda x, y, i: (x.reshape(1, 1, 1, 3, 1, 4), "full", y[0])),
    ],
)
def test_every_op_refuses_an_array_of_another_device(op, args):
    ops, other = FakeCudaOps("cuda:0"), FakeCudaOps("cuda:1")
    y, x, i = other.full((3, 4), 1.0), ops.full((3, 4), 1.0), ops.asarray([0, 1, 2])
    with pytest.raises(InvalidInputError, match=f"^{op} of arrays on different devices: .*cuda:1: .*ops.asarray"):
        getattr(ops, op)(*args(x, y, i))
    with pytest.raises(InvalidInputError, match="compile of arrays on different devices"):
        ops.compile(lambda nest: nest["y"])({"y": y})


@pytest.mark.parametrize(
    ("op", "shape", "args", "says"),
    [
        ("group_norm", (1, 4, 2), (0,), r"0 groups of x \(1, 4, 2\): expected \[B, C, ...\]"),
        ("group_norm_silu", (1, 4, 2), (3,), "3 groups of x"),
        ("softmax", (), (), "axis -1 of an array with shape"),
        ("attention_3d", (1, 2, 3, 1, 4), ("full",), r"expected \[B, T, S, 3, H, D\]"),
        ("attention_3d", (1, 2, 2, 2, 1, 4), ("full",), r"qkv has shape \(1, 2, 2, 2, 1, 4\)"),
        ("attention_3d", (1, 2, 2, 3, 1, 0), ("full",), "D at least 1"),
    ],
)
def test_shapes_without_a_meaning_are_named(ops, op, shape, args, says):
    with pytest.raises(InvalidInputError, match=f"^{op}: .*{says}"):
        getattr(ops, op)(ops.full(shape, 1.0), *args)


def test_a_host_array_in_a_product_is_told_to_come_over(ops):
    with pytest.raises(InvalidInputError, match=r"matmul got a ndarray, which is not on the GPU: .*ops.asarray"):
        ops.matmul(ops.full((2, 2), 1.0), np.ones((2, 2), np.float32))


def test_the_backend_is_known_by_name_and_computes_on_the_first_gpu(monkeypatch):
    monkeypatch.delenv("OPENSORA_DEVICE", raising=False)
    monkeypatch.setitem(
        registry.BUILTIN, "cuda", registry.Backend("tests.backends.cuda.fake:FakeCudaOps", device="cuda:0")
    )
    assert (get_backend("cuda").device, get_backend("cuda", device="cuda:1").device) == ("cuda:0", "cuda:1")
    assert isinstance(FakeCudaOps()._lib, Libraries)
