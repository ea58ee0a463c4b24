"""The suite "op": attention, norms, products and convolutions at the sizes of Open-Sora, and at awkward ones.

Sizes are those of STDiT3-XL/2 (Open-Sora v1.2) for 51 frames, which are 15 latent ones, and of one image: 16 heads of
72 channels, 300 tokens of text. The awkward ones have prime lengths and head dims of 1, 72, 80 and 129.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from opensora_core.interpose.costs import BYTES, FLOPS

from . import parts
from .case import Args, Case, Data, HostArray, Part, stand_ins
from .stand_ins import result_shape

BUCKETS = {  # latent frames, patches of a frame
    "image-240p": (1, 405),
    "240p": (15, 405),
    "480p": (15, 1620),
    "720p": (15, 3600),
}
HEADS, D, TEXT = 16, 72, 300
WIDTH = HEADS * D
HEAD_DIMS = (1, 72, 80, 129)


def op_cases() -> Iterator[Case]:
    """All of them."""
    for name, (T, S) in BUCKETS.items():
        quick, shape = T * S <= 405, {"T": T, "S": S, "H": HEADS, "D": D}
        yield from _attention(name, T, S, quick, shape)
        yield from _tokens(name, T * S, quick, shape)
    yield _full("full-2k", 2048)
    yield _full("full-8k", 8192)
    yield from _scaling()
    yield from _awkward()
    yield from _autoencoder()


def op_case(op: str, name: str, arguments: Args, part: Part, quick: bool, shape: dict[str, Any]) -> Case:
    """A case of an op of the table, whose cost the table knows."""

    def cost(args: Args) -> tuple[int, int]:
        return FLOPS[op](*args), BYTES[op](*args)

    result = result_shape(op, stand_ins(arguments, "float32"))
    return Case(op, name, arguments, part, cost, result, _logits(op, arguments), quick=quick, shape=shape)


def _logits(op: str, arguments: Args) -> int:
    """How many logits attention has."""
    if op == "attention":
        return int(math.prod(arguments[0].shape[:-1]) * arguments[1].shape[-2])
    if op == "attention_3d":
        B, T, S, _, H, _ = arguments[0].shape
        return int(B * T * S * H * {"spatial": S, "temporal": T}[arguments[1]])
    return 0


def rope(length: int, channels: int) -> tuple[HostArray, HostArray]:
    """Cosine and sine [length, channels/2] of rotary embedding."""
    angles = np.outer(np.arange(length), 10000.0 ** (-np.arange(0, channels, 2) / channels)).astype(np.float32)
    return np.cos(angles), np.sin(angles)


def text_mask(length: int) -> HostArray:
    """Mask [1, 1, 1, length] of a prompt that fills three quarters."""
    return (np.arange(length) < length - length // 4)[None, None, None]


def _attention(name: str, T: int, S: int, quick: bool, shape: dict[str, Any]) -> Iterator[Case]:
    def case(kind: str, q: tuple[int, ...], kv: tuple[int, ...], mask: Any, quick: bool) -> Case:
        arguments = (Data(q), Data(kv), Data(kv), mask)
        return op_case("attention", f"{kind}-{name}", arguments, parts.queries, quick, shape)

    yield case("spatial", (T, HEADS, S, D), (T, HEADS, S, D), None, quick)
    yield case("cross", (1, HEADS, T * S, D), (1, HEADS, TEXT, D), text_mask(TEXT), quick)
    patterns = [("spatial", S, quick)]
    if T > 1:
        yield case("temporal", (S, HEADS, T, D), (S, HEADS, T, D), None, name == "240p")
        patterns.append(("temporal", T, name == "240p"))
    for pattern, length, fast in patterns:
        norm = Data((D,), 0.1, 1.0)
        arguments = (Data((1, T, S, 3, HEADS, D)), pattern, norm, norm, *rope(length, D))
        yield op_case("attention_3d", f"{pattern}-{name}", arguments, parts.heads, fast, shape)


def _full(name: str, tokens: int) -> Case:
    """Full attention of Open-Sora v2.0, text and video side by side: 24 heads of 128 channels."""
    data = Data((1, 24, tokens, 128))
    shape = {"N": tokens, "H": 24, "D": 128}
    return op_case("attention", name, (data, data, data, None), parts.queries, False, shape)


def _scaling() -> Iterator[Case]:
    """Full attention at more and more tokens; temporal attention of more places, and spatial attention of more frames.

    The last two see a sequence of one length each, so that they should grow with the other axis alone.
    """
    for tokens in (256, 1024, 4096, 16384):
        quick, data = tokens <= 1024, Data((1, 2, tokens, D))
        shape = {"tokens": tokens, "H": 2, "D": D}
        yield op_case("attention", f"scaling-{tokens}", (data, data, data, None), parts.queries, quick, shape)
        for pattern, axis, length in (("temporal", "T", 16), ("spatial", "S", 256)):
            size = (length, tokens // length) if axis == "T" else (tokens // length, length)
            norm = Data((D,), 0.1, 1.0)
            arguments = (Data((1, *size, 3, 4, D)), pattern, norm, norm, *rope(length, D))
            shape = {"tokens": tokens, axis: length, "H": 4, "D": D}
            yield op_case("attention_3d", f"{pattern}-scaling-{tokens}", arguments, parts.heads, quick, shape)


def _awkward() -> Iterator[Case]:
    for channels in HEAD_DIMS:
        q, kv = Data((1, 3, 251, channels)), Data((1, 3, 509, channels))
        shape = {"L": 251, "M": 509, "H": 3, "D": channels}
        yield op_case("attention", f"prime-d{channels}", (q, kv, kv, None), parts.queries, True, shape)
        shape = {"T": 13, "S": 17, "H": 3, "D": channels}
        arguments: Args = (Data((1, 13, 17, 3, 3, channels)), "temporal", Data((channels,)), Data((channels,)))
        arguments += rope(13, channels) if channels % 2 == 0 else (None, None)
        yield op_case("attention_3d", f"prime-d{channels}", arguments, parts.heads, True, shape)
    yield from _tokens("prime", 1009, True, {"N": 1009, "C": 1151}, width=1151)


def _tokens(name: str, N: int, quick: bool, shape: dict[str, Any], width: int = WIDTH) -> Iterator[Case]:
    """What is done with every token of a block."""
    x, vector = Data((1, N, width)), Data((1, 1, width))
    table: list[tuple[str, str, Args, Callable[..., Any]]] = [
        ("linear", "qkv", (x, Data((3 * width, width), width**-0.5), Data((3 * width,))), parts.rows(0)),
        ("linear", "mlp", (x, Data((4 * width, width), width**-0.5), Data((4 * width,))), parts.rows(0)),
        ("modulate", "tokens", (x, vector, vector), parts.rows(0)),
        ("gated_residual", "tokens", (x, x, vector), parts.rows(0, 1)),
        ("layer_norm", "tokens", (x,), parts.rows(0)),
        ("gelu", "mlp", (Data((1, N, 4 * width)),), parts.rows(0)),
        ("softmax", "tokens", (x,), parts.rows(0)),
    ]
    if width % HEADS == 0:
        cos_sin = rope(N, width // HEADS)
        arguments = (Data((1, HEADS, N, width // HEADS)), Data((width // HEADS,), 0.1, 1.0), *cos_sin)
        table.append(("rms_norm_rotary", "heads", arguments, parts.rows(0, 2, 3)))
    for op, kind, arguments, part in table:
        yield op_case(op, f"{kind}-{name}", arguments, part, quick, shape)


def _autoencoder() -> Iterator[Case]:
    """A residual block of a video autoencoder, small and at 256x256 pixels; and sizes that no tile divides."""
    sizes = {"small": (32, (3, 16, 16)), "256px": (128, (5, 128, 128)), "prime": (32, (3, 13, 17))}
    for name, (C, size) in sizes.items():
        shape, quick = {"C": C, "size": size}, math.prod(size) < 1000
        data = Data((1, C, *size))
        norm = (data, 32, Data((C,), 0.1, 1.0), Data((C,)))
        yield op_case("group_norm_silu", name, norm, parts.group, quick, shape)
        convolution = (data, Data((C, C, 3, 3, 3), (27 * C) ** -0.5), Data((C,)), (1, 1, 1), (1, 1, 1))
        yield op_case("conv", name, convolution, parts.window, quick, shape)
