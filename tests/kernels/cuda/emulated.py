"""Kernels on the emulation, one module a source file; their results against references in extended precision."""

import ml_dtypes
import numpy as np

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.testing.judge import standard
from opensora_core.testing.running import vanilla
from opensora_core.testing.strategies import Call
from opensora_core.testing.table import TABLE
from opensora_kernels.cuda.launching import SOURCES
from opensora_kernels.emulation import EmulatedModule

DTYPES = {"float": np.float32, "__half": np.float16, "__nv_bfloat16": ml_dtypes.bfloat16}
DTYPE_NAMES = {np.dtype(dtype).name for dtype in DTYPES.values()}
PLAIN = vanilla(NumpyOps)()


class Emulated:
    """A `GetKernel` of all given instantiations of each source file; remembers every launch's counters."""

    def __init__(self, names, *, code=None, **build):
        self.modules = {
            file: EmulatedModule(**_source(file, (code or {}).get(file)), name_expressions=expressions, **build)
            for file, expressions in names.items()
        }
        self.used = {}

    def __call__(self, file, name):
        self.used[name] = self.modules[file].get_function(name)
        return self.used[name]

    def counters(self, name):
        return self.used[name].counters


def _source(file, code):
    if code is None:
        return {"path": SOURCES / file}
    return {"code": code, "options": (f"-I{SOURCES}",)}


def video(rng, B, T, S, H, D, dtype):
    """Packed qkv [B, T, S, 3, H, D], of a spread that makes some keys matter more than others."""
    return (rng.standard_normal((B, T, S, 3, H, D)) * 1.5).astype(dtype)


def norms(rng, D, dtype):
    """Weights of the norms of queries and keys."""
    return tuple((1 + 0.3 * rng.standard_normal(D)).astype(dtype) for _ in range(2))


def tables(rng, L, D):
    """Cosines and sines [L, D/2] of random angles."""
    angles = rng.uniform(-3, 3, (L, D // 2))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def wide(x):
    """A half-precision or float32 array in float64; anything else as it is."""
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.name in DTYPE_NAMES else x


def assert_right(out, op, *args):
    """`out` is the op's result within what `opensora_core.testing.judge` allows in its dtype."""
    given = [wide(x) for x in args]
    if op == "attention_3d":
        given[4:] = args[4:]  # rotary tables are float32, whatever the dtype
    call = Call(tuple(given))
    (found,) = standard(PLAIN, TABLE[op], call, out.dtype.name).judge([out])
    assert found.ok, f"{op}: error {found.error:.3g}, allowed {found.allowance:.3g}, size {found.size:.3g}"


assert_attends = assert_right
