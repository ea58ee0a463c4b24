"""Which kernel serves an op: decided ahead of time from what each declares that it can do, with the reason if none can.

    choose(Request("attention_3d", "bfloat16", arch=90, pattern="temporal", head_dim=72, length=15))
    -> Choice(kernel="temporal_attention", ...)

Nothing is launched or compiled here, and no array is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .cuda.attention_layout import HEAD_DIMS, TEMPORAL_FRAMES
from .cuda.launching import MOST_ACROSS

HALF = ("float16", "bfloat16")
FLOATING = ("float32", *HALF)
DTYPES = ("float64", *FLOATING)
OLDEST_ARCH = 80  # asynchronous copies, and tensor cores for bfloat16
SHOWN_HEAD_DIMS = (72, 128, 30, 300)
LONG = 4096  # from so many keys on, Torch's attention is expected to win at wide heads
COMPOSITION = "default composition"
TORCH = "torch SDPA through DLPack"


@dataclass(frozen=True)
class Request:
    """What is asked of an op. arch: compute capability, 90 for 9.0. length: of the attended axis, or of the keys.

    across: what the second axis of a grid counts, which is short: heads of `attention_3d`, output channels, groups.
    torch: whether Torch is there, on the same GPU. numba: whether kernels in Python come first, and Torch not at all.
    head_dim is None for ops without heads.
    """

    op: str
    dtype: str
    arch: int
    pattern: str | None = None
    head_dim: int | None = None
    length: int | None = None
    across: int | None = None
    masked: bool = False
    torch: bool = False
    numba: bool = False


@dataclass(frozen=True)
class Kernel:
    """What a kernel of ours declares: it serves requests within all of these."""

    name: str
    op: str
    source: str  # file in opensora_kernels/cuda, or in opensora_kernels/numba_cuda
    dtypes: tuple[str, ...] = FLOATING
    arch: int = OLDEST_ARCH
    head_dims: range | None = None
    multiple: int = 1  # of which the head dim must be one
    patterns: tuple[str, ...] | None = None
    longest: int | None = None
    largest: int | None = None  # length times head dim
    most_across: int | None = None
    masks: bool = True

    def refusal(self, request: Request) -> str | None:
        """Why it cannot serve, naming what was asked and what it takes; None if it can."""
        if request.arch < self.arch:
            return f"compute capability {_version(request.arch)} is older than {_version(self.arch)}"
        if request.dtype not in self.dtypes:
            return f"dtype {request.dtype} is not one of {', '.join(self.dtypes)}"
        if self.patterns and request.pattern not in self.patterns:
            return f"pattern {request.pattern} is not one of {', '.join(self.patterns)}"
        if self.head_dims and request.head_dim is not None:
            if request.head_dim not in self.head_dims:
                return f"head dim {request.head_dim} is outside {self.head_dims[0]}..{self.head_dims[-1]}"
            if request.head_dim % self.multiple:
                return f"head dim {request.head_dim} is no multiple of {self.multiple}"
        if self.longest and request.length is not None and request.length > self.longest:
            return f"length {request.length} is above {self.longest}"
        size = (request.length or 0) * (request.head_dim or 0)
        if self.largest and size > self.largest:
            return f"length {request.length} times head dim {request.head_dim} is above {self.largest}"
        if self.most_across and request.across is not None and request.across > self.most_across:
            return f"{request.across} heads, channels or groups are above {self.most_across}"
        return "it takes no mask" if request.masked and not self.masks else None


@dataclass(frozen=True)
class Choice:
    """What serves: a kernel of ours by name, or `serves` without one; reason says why no better one."""

    kernel: str | None
    serves: str
    reason: str


TENSOR_CORES: dict[str, Any] = {"dtypes": HALF, "head_dims": HEAD_DIMS, "multiple": 8}
PLAIN: dict[str, Any] = {"head_dims": HEAD_DIMS}
HEADS: dict[str, Any] = {"most_across": MOST_ACROSS}
ALONG_TIME: dict[str, Any] = {"patterns": ("temporal",), "longest": TEMPORAL_FRAMES, **HEADS}

KERNELS = (  # of one op in the order of preference
    Kernel("temporal_attention", "attention_3d", "temporal_attention.cu", **TENSOR_CORES, **ALONG_TIME),
    Kernel("temporal_attention_plain", "attention_3d", "temporal_attention.cu", **PLAIN, **ALONG_TIME),
    Kernel("flash_attention", "attention_3d", "flash_attention.cu", **TENSOR_CORES, **HEADS),
    Kernel("flash_attention_plain", "attention_3d", "flash_attention.cu", **PLAIN, **HEADS),
    Kernel("flash_attention", "attention", "flash_attention.cu", **TENSOR_CORES),
    Kernel("flash_attention_plain", "attention", "flash_attention.cu", **PLAIN),
    Kernel("attention_backward", "attention gradient", "attention_backward.cu", **TENSOR_CORES),
    Kernel("attention_backward_plain", "attention gradient", "attention_backward.cu", **PLAIN),
    *(Kernel("modulate", op, "modulate.cu") for op in ("layer_norm", "rms_norm", "modulate")),
    Kernel("gated_residual", "gated_residual", "gated_residual.cu"),
    *(Kernel("group_norm", op, "group_norm_silu.cu", longest=2**30 - 1) for op in ("group_norm", "group_norm_silu")),
    *(Kernel("activate", op, "activations.cu") for op in ("gelu", "silu")),
    Kernel("softmax", "softmax", "softmax.cu"),
    *(Kernel("qk_norm_rope", op, "qk_norm_rope.cu") for op in ("rotary", "rms_norm_rotary")),
    Kernel("adamw", "adamw_step", "adamw.cu"),
    Kernel("index_add", "index_add", "index_add.cu", dtypes=DTYPES, arch=75),  # half precision widened to float32
    Kernel("conv3d", "conv", "conv3d.cu", longest=2**30, most_across=64 * MOST_ACROSS),
    *(
        Kernel("modulate_backward", f"{op} gradient", "modulate_backward.cu", longest=12672)
        for op in ("layer_norm", "rms_norm", "modulate")
    ),
    *(
        Kernel("group_norm_to_x", f"{op} gradient", "group_norm_backward.cu", longest=2**30 - 1)
        for op in ("group_norm", "group_norm_silu")
    ),
)

READABLE: dict[str, Any] = {"dtypes": ("float32", "float16")}
NUMBA = (  # kernels in Python; 48 KiB of shared memory hold three times length * head dim, and 32 numbers more
    Kernel(
        "numba temporal_attention",
        "attention_3d",
        "temporal_kernel.py",
        **READABLE,
        **PLAIN,
        **ALONG_TIME,
        largest=4085,
    ),
    Kernel("numba flash_attention", "attention", "flash_kernel.py", **READABLE, head_dims=range(1, 129), masks=False),
    *(Kernel("numba normalise", op, "norm_kernel.py", **READABLE) for op in ("layer_norm", "rms_norm", "modulate")),
    Kernel("numba gated_residual", "gated_residual", "norm_kernel.py", **READABLE),
    *(
        Kernel("numba group_norm_silu", op, "norm_kernel.py", **READABLE, longest=2**30 - 1, most_across=MOST_ACROSS)
        for op in ("group_norm", "group_norm_silu")
    ),
    *(Kernel("numba qk_norm_rope", op, "rotary_kernel.py", **READABLE) for op in ("rotary", "rms_norm_rotary")),
    Kernel("numba adamw", "adamw_step", "adamw_kernel.py", **READABLE),
    Kernel("numba conv3d", "conv", "conv_kernel.py", **READABLE, longest=2**30, most_across=MOST_ACROSS),
)


def numba_serves(op: str, dtype: str, **layout: Any) -> bool:
    """Whether a kernel in Python takes an op of this layout."""
    request = Request(op, dtype, OLDEST_ARCH, **layout)
    return any(kernel.op == op and kernel.refusal(request) is None for kernel in NUMBA)


def choose(request: Request) -> Choice:
    """Return what serves a request: the first of our kernels that can, Torch, or the op's default composition."""
    reasons: dict[str, str] = {}
    if request.torch and not request.numba and _better_by_torch(request):
        return Choice(None, TORCH, f"heads of {request.head_dim} and {request.length} keys: its attention is faster")
    for kernel in (k for k in (*(NUMBA if request.numba else ()), *KERNELS) if k.op == request.op):
        reason = kernel.refusal(request)
        if reason is None:
            passed = "; ".join(f"{name}: {why}" for name, why in reasons.items())
            return Choice(kernel.name, kernel.name, passed)
        reasons[kernel.name] = reason
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return Choice(None, COMPOSITION, why or f"there is no kernel for {request.op}")


def matrix(arch: int = 90, torch: bool = True, numba: bool = False) -> Iterator[dict[str, str]]:
    """Rows of what serves what on a GPU, for people: op, dtype, layout, arch, what serves, and why nothing better.

    torch: as if Torch were there; without it a kernel serves instead. numba: whether kernels in Python come first.
    """
    for asked in (replace(one, numba=numba) for one in _questions(arch, torch)):
        for dtype in DTYPES:
            found = choose(replace(asked, dtype=dtype))
            row = {"op": asked.op, "dtype": dtype, "layout": _layout(asked), "arch": _version(arch)}
            yield {**row, "serves": found.serves, "reason": found.reason}


def _questions(arch: int, torch: bool) -> Iterator[Request]:
    for op in dict.fromkeys(kernel.op for kernel in KERNELS):
        if not op.startswith("attention"):
            yield Request(op, "", arch)
            continue
        for head_dim in SHOWN_HEAD_DIMS:
            if op != "attention_3d":
                yield Request(op, "", arch, None, head_dim, 300, masked=True, torch=torch)
                yield Request(op, "", arch, None, head_dim, 24300, torch=torch)
                continue
            for pattern, length in (("temporal", 15), ("temporal", 64), ("spatial", 1620), ("full", 24300)):
                yield Request(op, "", arch, pattern, head_dim, length, torch=torch)


def _layout(request: Request) -> str:
    if request.head_dim is None:
        return "any"
    masked = "masked" if request.masked else None
    return " ".join(filter(None, (request.pattern, f"D={request.head_dim}", f"L={request.length}", masked)))


def _better_by_torch(request: Request) -> bool:
    wide = request.head_dim is not None and 96 < request.head_dim <= 256 and request.head_dim % 8 == 0
    long = request.length is not None and request.length >= LONG
    ours = request.op == "attention gradient" or request.pattern == "temporal" or request.masked
    return wide and long and not ours and request.dtype in HALF


def _version(arch: int) -> str:
    return f"{arch // 10}.{arch % 10}"
