"""The kernels of `opensora_kernels.cuda` on this backend: compiled once for each GPU, chosen for each call.

OPENSORA_CUDA_KERNELS: "auto" (the default: a kernel where one can serve), "none" (default compositions only), or
"strict" (InvalidInputError, with the reason, where no kernel can serve), or "numba" (auto without Torch, with the
kernels in Python of `opensora_kernels.numba_cuda` for what they serve).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from opensora_core.errors import InvalidInputError, MissingDependencyError, OpenSoraError
from opensora_core.primitives import PRIMITIVES
from opensora_kernels import choice
from opensora_kernels.choice import Choice, Request
from opensora_kernels.cuda.adamw import AdamWKernels
from opensora_kernels.cuda.attention import AttentionKernels
from opensora_kernels.cuda.conv import ConvKernels
from opensora_kernels.cuda.norms import NormKernels
from opensora_kernels.cuda.rotary import RotaryKernels

from .cuda_libraries import INSTALL_NUMBA, Libraries, compute_capability, device_count, load_cupy

VARIABLE = "OPENSORA_CUDA_KERNELS"
MODES = ("auto", "none", "strict", "numba")
SOURCES = Path(choice.__file__).parent / "cuda"
OPTIONS = ("-std=c++17", f"-I{SOURCES}")


class KernelCompileError(OpenSoraError, RuntimeError):
    """A kernel does not compile: the installation of CUDA is broken, or the kernel is."""


class Kernels:
    """Kernels of one GPU: `choose` by capability, `get` by source and name, compiled at the first use."""

    def __init__(self, lib: Libraries, index: int, mode: str = "auto") -> None:
        self._lib = lib  # kept, so that no other library can have its id
        self._compiled: dict[tuple[str, str], Any] = {}
        self.arch = compute_capability(lib, index)
        self.mode = mode

    def choose(self, op: str, dtype: str, **layout: Any) -> Choice:
        """What serves a call; see `opensora_kernels.choice`."""
        if self.mode == "none":
            return _NONE
        asked = Request(op, dtype, self.arch, numba=self.mode == "numba", **layout)
        found = choice.choose(asked)
        if found.serves == choice.TORCH and not torch_is_there():
            found = choice.choose(replace(asked, torch=False))
        if self.mode == "strict" and found.serves == choice.COMPOSITION:
            raise InvalidInputError(f"no kernel serves {op} ({found.reason}), and {VARIABLE}=strict")
        return found

    def get(self, source: str, name: str) -> Any:
        """Return a kernel: a file of `opensora_kernels/cuda` and a name expression such as "index_add<float>".

        CuPy keeps what is compiled on disk (CUPY_CACHE_DIR, by default ~/.cupy/kernel_cache).
        """
        if (source, name) not in self._compiled:
            self._compiled[source, name] = self._compile(source, name)
        return self._compiled[source, name]

    def _compile(self, source: str, name: str) -> Any:
        code = f"// headers: {headers_digest()}\n{(SOURCES / source).read_text()}"
        try:
            module = self._lib.raw_module(code=code, options=OPTIONS, name_expressions=(name,))
            return module.get_function(name)
        except OpenSoraError:
            raise
        except Exception as error:
            if type(error).__name__ not in ("CompileException", "CompileError", "NVRTCError"):
                raise
            first, arch = str(error).strip().partition("\n")[0], f"{self.arch // 10}.{self.arch % 10}"
            raise KernelCompileError(
                f"{name} of {source} does not compile for compute capability {arch}: {first}; "
                f"{VARIABLE}=none does without kernels"
            ) from error


_OPENED: dict[tuple[int, int, str], Kernels] = {}


def kernels_of(lib: Libraries, index: int) -> Kernels:
    """The kernels of a GPU, which all backends on it share."""
    mode = mode_of_environment()
    key = (id(lib), index, mode)
    if key not in _OPENED:
        _OPENED[key] = Kernels(lib, index, mode)
    return _OPENED[key]


def mode_of_environment() -> str:
    """The mode that OPENSORA_CUDA_KERNELS names; InvalidInputError where there is no such one."""
    mode = os.environ.get(VARIABLE) or "auto"
    if mode not in MODES:
        raise InvalidInputError(f"{VARIABLE}={mode!r} is not one of {', '.join(MODES)}")
    return mode


def matrix(load: Callable[[], Libraries] = load_cupy) -> Iterator[dict[str, str]]:
    """Rows of what serves what, as `opensora_kernels.choice.matrix`, in the mode of the environment.

    They are of the first GPU, with Torch or without as it is there; without a GPU of one of 9.0, as if with Torch.
    """
    mode, arch, torch = mode_of_environment(), 90, True
    with suppress(OpenSoraError):
        lib = load()
        device_count(lib)
        arch, torch = compute_capability(lib, 0), torch_is_there()
    for row in choice.matrix(arch, torch, numba=mode == "numba"):
        if mode == "none" and row["op"] not in PRIMITIVES:
            row |= {"serves": choice.COMPOSITION, "reason": _NONE.reason}
        elif mode == "strict" and row["serves"] == choice.COMPOSITION:
            row |= {"serves": f"an error, by {VARIABLE}=strict"}
        yield row


class Launchers(NamedTuple):
    """Who launches the kernels of which there are some in Python too."""

    attention: type[AttentionKernels] = AttentionKernels
    norms: type[NormKernels] = NormKernels
    rotary: type[RotaryKernels] = RotaryKernels
    conv: type[ConvKernels] = ConvKernels
    adamw: type[AdamWKernels] = AdamWKernels


def launchers(mode: str) -> Launchers:
    """Who launches in a mode; MissingDependencyError where that is Numba, and numba-cuda is not there."""
    if mode != "numba":
        return Launchers()
    if importlib.util.find_spec("numba_cuda") is None:
        raise MissingDependencyError(f"{VARIABLE}=numba needs numba-cuda: {INSTALL_NUMBA}")
    from opensora_kernels.numba_cuda.adamw import NumbaAdamW
    from opensora_kernels.numba_cuda.attention import NumbaAttention
    from opensora_kernels.numba_cuda.conv import NumbaConv
    from opensora_kernels.numba_cuda.norms import NumbaNorms
    from opensora_kernels.numba_cuda.rotary import NumbaRotary

    return Launchers(NumbaAttention, NumbaNorms, NumbaRotary, NumbaConv, NumbaAdamW)


@functools.cache
def headers_digest() -> str:
    """Hash of all headers, which CuPy's cache on disk would not notice to have changed."""
    texts = (path.read_bytes() for path in sorted(SOURCES.glob("*.cuh")))
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]


@functools.cache
def torch_is_there() -> bool:
    """Whether Torch is installed and reaches a GPU; asked only where it would serve, as importing it takes seconds."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


_NONE = Choice(None, choice.COMPOSITION, f"{VARIABLE}=none")
