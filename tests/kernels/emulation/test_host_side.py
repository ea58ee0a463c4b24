"""What a launch is given is checked; compiled modules are kept; a missing compiler is named."""

import ml_dtypes
import numpy as np
import pytest

from opensora_kernels.emulation import CompileError, EmulatedModule, LaunchError, cache_folder, guarded, poisoned

CODE = r"""
#include <cuda_fp16.h>
#include <cuda_bf16.h>
template <typename T> __global__ void scale(const T* x, T* y, float by, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = T(float(x[i]) * by * FACTOR);
}
extern "C" __global__ void or_nothing(const float2* x, float* y) { y[0] = x ? x[0].y : 7.0f; }
"""
X = np.arange(5, dtype=np.float32)


@pytest.fixture(scope="module")
def module():
    names = ["scale<float>", "scale<__half>", "scale<__nv_bfloat16>"]
    return EmulatedModule(code=CODE, options=("-DFACTOR=2.0f", "--use_fast_math"), name_expressions=names)


@pytest.mark.parametrize(
    ("name", "dtype"), [("float", "float32"), ("__half", "float16"), ("__nv_bfloat16", ml_dtypes.bfloat16)]
)
def test_arrays_and_numbers_arrive(module, name, dtype):
    y = np.zeros(5, dtype)
    module.get_function(f"scale<{name}>")((1,), (32,), (X.astype(dtype), y, np.float32(1.5), np.int32(5)))
    np.testing.assert_array_equal(y.astype(np.float32), X * 3)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((X, X.copy(), np.float32(1)), "3 arguments; the kernel has 4 parameters"),
        ((X, X.copy(), np.float32(1), 5), "argument 3 is np.int64(5) (int64); the kernel wants a integer of 4 bytes"),
        ((X, X.copy(), 1.0, np.int32(5)), "argument 2 is np.float64(1.0)"),
        ((X, X.copy(), np.int32(1), np.int32(5)), "the kernel wants a float of 4 bytes"),
        ((X.astype("float16"), X.copy(), np.float32(1), np.int32(5)), "argument 0 is an array of float16"),
        ((X.astype("float64"), X.copy(), np.float32(1), np.int32(5)), "a pointer to const float of 4 bytes"),
        ((X, X.astype("int32"), np.float32(1), np.int32(5)), "argument 1 is an array of int32"),
        ((np.float32(1), X.copy(), np.float32(1), np.int32(5)), "argument 0 is np.float32(1.0)"),
        ((None, X.copy(), np.float32(1), np.int32(5)), "argument 0 is a NoneType, neither an array nor a number"),
        ((X, np.broadcast_to(X[:1], (5,)), np.float32(1), np.int32(5)), "argument 1 is a read-only array"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(module, args, words):
    with pytest.raises(LaunchError) as caught:
        module.get_function("scale<float>")((1,), (32,), args)
    assert words in str(caught.value)


def test_a_null_pointer_is_eight_bytes_of_zero(module):
    y, kernel = np.zeros(1, np.float32), module.get_function("or_nothing")
    kernel((1,), (1,), (np.uintp(0), y))
    assert y[0] == 7
    kernel((1,), (1,), (np.array([1, 2], np.float32), y))
    assert y[0] == 2
    with pytest.raises(LaunchError, match="argument 0"):
        kernel((1,), (1,), (np.uintp(64), y))


def test_an_unknown_kernel_is_refused_with_the_known_ones(module):
    with pytest.raises(LaunchError, match=r"no kernel 'scale<int>'; name_expressions gave scale<float>"):
        module.get_function("scale<int>")


def test_code_or_path(tmp_path):
    with pytest.raises(TypeError, match="either code= or path="):
        EmulatedModule()
    source, header = tmp_path / "double.cu", tmp_path / "factor.cuh"
    source.write_text('#include "factor.cuh"\nextern "C" __global__ void times(float* y) { y[0] *= FACTOR; }\n')
    for factor in (2, 3):  # a changed header is a new module
        header.write_text(f"#define FACTOR {factor}\n")
        y = np.ones(1, np.float32)
        EmulatedModule(path=source).get_function("times")((1,), (1,), (y,))
        assert y[0] == factor


def test_the_compiler_speaks_with_the_files_own_lines(tmp_path):
    source = tmp_path / "wrong.cu"
    source.write_text('extern "C" __global__ void wrong(float* y) {\n  y[0] = nowhere;\n}\n')
    with pytest.raises(CompileError, match=r"wrong\.cu:2:\d+: error: .*nowhere"):
        EmulatedModule(path=source).get_function("wrong")


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompileError, match=r"'no-such-compiler' is not on PATH .*apt install g\+\+"):
        EmulatedModule(code=CODE, name_expressions=["scale<float>"]).compile()


def test_a_module_is_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENSORA_EMULATION_CACHE", str(tmp_path / "kept"))
    code = 'extern "C" __global__ void one(float* y) { y[0] = 1.0f; }'
    assert cache_folder() == tmp_path / "kept"
    EmulatedModule(code=code).compile()
    (library,) = cache_folder().iterdir()
    before = library.stat().st_mtime_ns
    EmulatedModule(code=code).compile()
    assert [p.stat().st_mtime_ns for p in cache_folder().iterdir()] == [before]
    EmulatedModule(code=code, sanitize=True).compile()
    assert len(list(cache_folder().iterdir())) == 2


def test_arrays_for_tests():
    x = np.arange(6, dtype=np.float16).reshape(2, 3)
    copy = guarded(x)
    np.testing.assert_array_equal(copy, x)
    assert copy.ctypes.data % 4096 == 4096 - x.nbytes
    assert np.isnan(poisoned((3, 2), np.float32)).all()
    assert (poisoned((3,), np.int32, guard=False) == -1).all()
    assert np.isnan(poisoned((4,), ml_dtypes.bfloat16).astype(np.float32)).all()
    assert guarded(np.zeros((0, 3), np.float32)).shape == (0, 3)
