"""CUDA: CuPy arrays on one GPU, products by cuBLAS, fused ops by the kernels of `opensora_kernels.cuda`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from opensora_core.errors import InvalidInputError, LimitError, OpenSoraError, is_out_of_memory
from opensora_core.ops import FUSED, PATTERNS, PRIMITIVES, Array, Function, Ops, Pattern
from opensora_kernels.choice import TORCH
from opensora_kernels.cuda.activations import ActivationKernels
from opensora_kernels.cuda.attention_backward import AttentionGradients
from opensora_kernels.cuda.attention_layout import key_lengths
from opensora_kernels.cuda.group_norm_gradients import GroupNormGradients
from opensora_kernels.cuda.norm_gradients import NormGradients

from .cuda_checks import arrays_in, check_channels, check_video
from .cuda_exchange import from_torch, sdpa, to_torch
from .cuda_fused import FusedByKernels
from .cuda_gradients import GradientsByKernels
from .cuda_graph import capturing, compiled
from .cuda_kernels import kernels_of, launchers
from .cuda_libraries import Libraries, check_device, device_index, load_cupy
from .cuda_memory import limit_from_environment, out_of_memory, set_limit

WARM_HEAD_DIMS = (64, 72, 128)
WARM_WIDTH = 1152
PROGRAMS = ("value_and_grad", "compile")  # run functions of the caller, whose own errors pass
FROM_ANYWHERE = ("asarray", "to_numpy")  # take arrays of other devices
WARM_SIZES = ((2, 2), (17, 2))  # frames, patches: one for each tile of the temporal kernel


class CudaOps(GradientsByKernels, FusedByKernels):
    """Arrays are cupy.ndarray on one GPU; work is queued on CuPy's current stream."""

    name = "cuda"
    libraries: Callable[[], Libraries] = staticmethod(functools.cache(load_cupy))

    def __init__(self, device: str = "cuda", dtype: str = "float32") -> None:
        index = device_index(device)
        self._lib = type(self).libraries()
        check_device(self._lib, index)
        self.xp, self._index = self._lib.xp, index
        self._enter()
        limit_from_environment(self._lib)
        self._kernels = kernels_of(self._lib, index)
        who = launchers(self._kernels.mode)
        self._attention = who.attention(self.xp, self._kernels.get)
        self._attention_gradients = AttentionGradients(self.xp, self._kernels.get)
        self._norms = who.norms(self.xp, self._kernels.get)
        self._norm_gradients = NormGradients(self.xp, self._kernels.get)
        self._group_norm_gradients = GroupNormGradients(self.xp, self._kernels.get)
        self._activations = ActivationKernels(self.xp, self._kernels.get)
        self._rotary = who.rotary(self.xp, self._kernels.get)
        self._conv = who.conv(self.xp, self._kernels.get)
        self._adamw = who.adamw(self.xp, self._kernels.get)
        super().__init__(f"cuda:{index}", dtype)

    def synchronize(self) -> None:
        """Wait until everything queued on the current stream has been computed."""
        self._enter()
        self.xp.cuda.get_current_stream().synchronize()

    def to_torch(self, x: Array) -> Any:
        """A torch.Tensor over the same memory."""
        return to_torch(x)

    def from_torch(self, tensor: Any) -> Array:
        """An array over the memory of a tensor on the GPU."""
        self._enter()
        return from_torch(self.xp, tensor)

    def limit_memory(self, amount: str) -> int:
        """Limit what all arrays on the GPU may take together, such as "8GiB" or "80%"; returns it in bytes."""
        self._enter()
        return set_limit(self._lib, amount)

    def warmup(self) -> None:
        """Compile the published models' attention and norm in this backend's dtype, by launching them small."""
        for head_dim in WARM_HEAD_DIMS:
            weight = self.full((head_dim,), 1.0, self.dtype)
            for frames, patches in WARM_SIZES:
                qkv = self.full((1, frames, patches, 3, 1, head_dim), 0.5, self.dtype)
                for pattern in PATTERNS:
                    self.attention_3d(qkv, pattern, weight, weight)  # type: ignore[arg-type]
            q = self.full((1, 1, 3, head_dim), 0.5, self.dtype)
            self.attention(q, q, q, mask=self.full((1, 1, 1, 3), 1, "bool"))
        row = self.full((1, WARM_WIDTH), 0.5, self.dtype)
        self.modulate(row, row, row)
        self.synchronize()

    # ------------------------------------------------------------------ fused ops by kernels

    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        check_channels("attention", q)
        layout = {"head_dim": q.shape[-1], "length": k.shape[-2], "masked": mask is not None}
        found = self._kernels.choose("attention", self.dtype_name(q), **layout, torch=capturing() is None)
        if found.kernel:
            return self._attention.attention(q, k, v, mask, scale, key_lengths(self.xp, mask, q, k, v))
        if found.serves == TORCH:
            return sdpa(self, q, k, v, scale)
        return super().attention(q, k, v, mask, scale)

    def attention_3d(
        self,
        qkv: Array,
        pattern: Pattern,
        q_norm: Array | None = None,
        k_norm: Array | None = None,
        cos: Array | None = None,
        sin: Array | None = None,
    ) -> Array:
        check_video(qkv)
        _, T, S, _, H, D = qkv.shape
        length = {"temporal": T, "spatial": S}.get(pattern, T * S)
        layout = {"head_dim": D, "length": length, "across": H, "pattern": pattern, "torch": capturing() is None}
        if pattern in PATTERNS and self._kernels.choose("attention_3d", self.dtype_name(qkv), **layout).kernel:
            return self._attention.attention_3d(qkv, pattern, q_norm, k_norm, cos, sin)
        return super().attention_3d(qkv, pattern, q_norm, k_norm, cos, sin)

    # ------------------------------------------------------------------ fused programs

    def compile(self, fun: Function) -> Function:
        recorded: Any = compiled(self, fun)
        guarded = _guarded("compile", lambda _, *args: recorded(*args))
        return functools.wraps(fun)(functools.partial(guarded, self))


def _guarded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method for arrays of this GPU, with what CUDA and kernels raise turned into this library's errors."""

    @functools.wraps(method)
    def call(self: CudaOps, *args: Any, **kwargs: Any) -> Any:
        if name not in FROM_ANYWHERE:
            self.check_devices(name, *arrays_in((*args, *kwargs.values())))
        try:
            return method(self, *args, **kwargs)
        except OpenSoraError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise LimitError(out_of_memory(self._lib, name, error)) from error
            if isinstance(error, ValueError) and name not in PROGRAMS:
                raise InvalidInputError(f"{name}: {error}") from error
            raise

    return call


for _name in (*PRIMITIVES, *FUSED, "with_gradient"):
    if (_method := getattr(CudaOps, _name)) is not getattr(Ops, _name, None) or _name in PROGRAMS:
        setattr(CudaOps, _name, _guarded(_name, _method))
