"""The suite "model": one step of a denoiser, from noisy latents to a prediction, with the text projected beforehand.

Sizes that are not those of the release say so in their shape: "4 of 16" heads, "1 of 28" pairs of blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from opensora_core.dit.captions import TextContext
from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.module import rebuild, state_dict
from opensora_core.nn.attention import KeysValues
from opensora_core.nn.embeddings import rope_frequencies
from opensora_core.nn.init import ShapeInit
from opensora_core.ops import Array, Ops

from . import parts
from .case import Case, Data
from .stand_ins import program_cost
from .suite_block import weight
from .suite_op import text_mask

LATENTS = {"image-240p": (1, 30, 54), "240p": (15, 30, 54), "480p": (15, 60, 108), "720p": (15, 90, 160)}
EMBEDDED = STDiT3Config(
    input_sq_size=1024, in_channels=48, patch_size=(1, 1, 2), hidden_size=128, depth=4, num_heads=4, pred_sigma=False,
    caption_channels=128, model_max_length=24, frame_time_fps=8.0, pooled_caption=True,
)  # fmt: skip
XL2 = STDiT3Config()
PIXELS = 8  # along each side of a latent cell


def model_cases() -> Iterator[Case]:
    """All of them."""
    yield _step("embedded", EMBEDDED, (2, 5, 8, 8), quick=True)  # 17 frames of 64x64 pixels, with guidance
    small = STDiT3Config(hidden_size=4 * XL2.head_dim, num_heads=4, depth=2)
    yield _step("xl2-narrow-shallow", small, (1, 2, 12, 16), quick=True, of=XL2)
    for name, size in LATENTS.items():
        yield _step(f"xl2-shallow-{name}", STDiT3Config(depth=1), (1, *size), quick=False, of=XL2)
    for name, size in LATENTS.items():
        yield _step(f"xl2-{name}", XL2, (1, *size), quick=False)


def _step(name: str, config: STDiT3Config, sizes: tuple[int, ...], quick: bool, of: STDiT3Config | None = None) -> Case:
    """sizes: B, T, H, W of the latents. of: the release's configuration, where `config` is smaller."""
    B, *size = sizes
    program, H, L = _Program(STDiT3.create(config, ShapeInit()), sizes), config.num_heads, config.model_max_length
    text = {f"{i}.{kind}": Data((B, H, L, config.head_dim)) for i in range(2 * config.depth) for kind in ("k", "v")}
    if config.pooled_caption:
        text["pooled"] = Data((B, config.hidden_size))
    latents, result = Data((B, config.in_channels, *size)), (B, config.out_channels, *size)
    times = np.linspace(700, 300, B, dtype=np.float32)
    arguments = (program.weights(), latents, text, times, np.full(B, 8, np.float32), text_mask(L))
    T, S = size[0], math.prod(-(-n // p) for n, p in zip(size[1:], config.patch_size[1:], strict=True))
    shape = {
        "B": B, "T": T, "S": S, "heads": _share(config.num_heads, of and of.num_heads), "D": config.head_dim,
        "pairs": _share(config.depth, of and of.depth),
    }  # fmt: skip
    cost, logits = program_cost(program), B * T * S * H * max(L, T, S)
    return Case("model", f"stdit3-{name}", arguments, parts.whole, cost, result, logits, "model", program, quick, shape)


def _share(number: int, whole: int | None) -> int | str:
    return number if whole in (None, number) else f"{number} of {whole}"


class _Program:
    """A step as a function of (ops, weights, latents, text, timesteps, rates of frames, mask of the text)."""

    def __init__(self, model: STDiT3, sizes: tuple[int, ...]) -> None:
        self._model, self._weights, self._whole = model, None, model
        self._height, self._width = (float(PIXELS * n) for n in sizes[-2:])
        self._rest = {name: leaf for name, leaf in state_dict(model).items() if not _is_of_a_step(name)}
        self._rest["rope.freqs"] = rope_frequencies(model.config.head_dim).astype(np.float32)

    def weights(self) -> dict[str, Data]:
        """Those that a step needs: the text is projected once for all steps."""
        return {n: weight(leaf) for n, leaf in state_dict(self._model).items() if _is_of_a_step(n)}

    def __call__(
        self, ops: Ops, weights: Any, latents: Array, text: Any, times: Array, rates: Array, mask: Array
    ) -> Array:
        if weights is not self._weights:  # a model puts its weights into place once
            freqs = ops.asarray(self._rest["rope.freqs"], ops.wide_dtype)
            self._weights, self._whole = weights, rebuild(self._model, {**self._rest, **weights, "rope.freqs": freqs})
        blocks = range(2 * self._model.config.depth)
        keys_values = tuple(KeysValues(text[f"{i}.k"], text[f"{i}.v"]) for i in blocks)
        context = TextContext(keys_values, mask, text.get("pooled"))
        return self._whole.denoise(ops, latents, times, context, None, rates, self._height, self._width)


def _is_of_a_step(name: str) -> bool:
    return not name.startswith(("rope.", "y_embedder.", "pool_embedder.")) and ".cross_attn.kv_linear." not in name
