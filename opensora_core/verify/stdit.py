"""Golden sets of the STDiT family, v1.0 to v1.3: one prediction per case and what flows through it on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..capture import Call, capture
from ..dit.embedders import unpack_text
from ..dit.stdit2 import VideoSize
from ..dit.stdit3_windows import GivenFrames
from ..ops import Array, Ops
from .golden import GoldenCase, GoldenSet, bring
from .load import load_denoiser
from .produced import Produced

Inputs = dict[str, NDArray[Any]]
Denoise = Callable[[Ops, Any, GoldenCase, Inputs], Array]
"""denoise(ops, model, case, its inputs) -> the prediction"""

VECTORS = {
    "t_emb": "t_embedder", "fps_emb": "fps_embedder", "fl_emb": "fl_embedder", "csize_emb": "csize_embedder",
    "ar_emb": "ar_embedder", "t_block": "t_block.1", "t_block_temp": "t_block_temp.1",
}  # fmt: skip
"""Intermediates [B, ...] and the modules that make them."""
TOKENS = {
    "x_embedder": "x_embedder.proj", "block0": "blocks.0", "spatial0": "spatial_blocks.0",
    "temporal0": "temporal_blocks.0", "last_block": "temporal_blocks.{last}", "final_layer": "final_layer",
}  # fmt: skip
"""Intermediates [B, N, C] and the modules that make them; a model has some of these."""


def stdit(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """STDiT of v1.0, which knows neither the size of the video nor given frames."""

    def denoise(ops: Ops, model: Any, case: GoldenCase, inputs: Inputs) -> Array:
        return model.denoise(ops, bring(ops, inputs["x"]), bring(ops, inputs["timestep"]), _text(ops, model, inputs))

    return _predictions(golden, ops, denoise)


def stdit2(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """STDiT2 of v1.1, which is told size, length and frame rate."""

    def denoise(ops: Ops, model: Any, case: GoldenCase, inputs: Inputs) -> Array:
        size = VideoSize(**{name: float(inputs[name][0]) for name in VideoSize._fields})
        given = _brought(ops, inputs)
        return model.denoise(ops, given["x"], given["timestep"], _text(ops, model, inputs), size, given.get("x_mask"))

    return _predictions(golden, ops, denoise)


def stdit3(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """STDiT3 of v1.2, and of v1.3 with and without windows."""

    def denoise(ops: Ops, model: Any, case: GoldenCase, inputs: Inputs) -> Array:
        given, text = _brought(ops, inputs), _text(ops, model, inputs)
        size = float(inputs["height"][0]), float(inputs["width"][0])
        rest = {}
        if "cond" in inputs:
            null = model.encode_text(ops, given["y_null"], given.get("mask"))
            rest["given"] = GivenFrames(tuple(case.args["mask_index"]), given["cond"], given["cond_mask"], null)
        return model.denoise(ops, given["x"], given["timestep"], text, given.get("x_mask"), given["fps"], *size, **rest)

    return _predictions(golden, ops, denoise)


def _predictions(golden: GoldenSet, ops: Ops, denoise: Denoise) -> Iterator[Produced]:
    model = load_denoiser(golden, ops)
    tokens, vectors = _parts(model, TOKENS), _parts(model, VECTORS)
    first = tokens.get("block0") or tokens["spatial0"]
    text = f"{first}.cross_attn.kv_linear"
    for name, case in golden.cases.items():
        inputs = golden.inputs(name)
        watched, calls = capture(model, [text, *tokens.values(), *vectors.values()])
        yield Produced(name, "out/y", ops.to_numpy(denoise(ops, watched, case, inputs)))
        yield Produced(name, "mid/x_pos", _tokens(ops, calls[first][0].args[0]))
        yield Produced(name, "mid/y_packed", _pack(ops.to_numpy(calls[text][0].args[0]), inputs.get("mask")))
        for key, module in tokens.items():
            yield Produced(name, f"mid/{key}", _tokens(ops, calls[module][0].output))
        for key, module in vectors.items():
            yield Produced(name, f"mid/{key}", _vector(ops, key, calls[module], inputs["x"].shape[0]))


def _parts(model: Any, names: dict[str, str]) -> dict[str, str]:
    """Those of the modules that a model has."""
    there = {key: name for key, name in names.items() if name.split(".")[0] in vars(model)}
    return {key: name.format(last=model.config.depth - 1) for key, name in there.items()}


def _brought(ops: Ops, inputs: Inputs) -> dict[str, Array]:
    return {name: bring(ops, x) for name, x in inputs.items()}


def _text(ops: Ops, model: Any, inputs: Inputs) -> Any:
    """The text of a case, encoded; where it is embedded already, its mask holds the lengths of the prompts."""
    y, mask = bring(ops, inputs["y"]), inputs.get("mask")
    if not model.config.skip_y_embedder:
        return model.encode_text(ops, y, None if mask is None else bring(ops, mask))
    if mask is None:
        raise ValueError("text that is embedded already comes with the lengths of the prompts as its mask")
    return model.encode_text(ops, *unpack_text(ops, y, _lengths(mask)))


def _lengths(mask: NDArray[Any]) -> list[int]:
    return [int(n) for n in (mask if mask.ndim == 1 else (mask != 0).sum(axis=1))]


def _tokens(ops: Ops, x: Array) -> NDArray[Any]:
    tokens: NDArray[Any] = ops.to_numpy(x)
    return tokens.reshape(tokens.shape[0], -1, tokens.shape[-1])  # (B, T, S, C) -> (B, N, C)


def _vector(ops: Ops, name: str, calls: list[Call], rows: int) -> NDArray[Any]:
    """A vector [B, ...]; of modules called again for given frames (at time 0) the first call, of both sides both."""
    used = calls[:2] if name == "csize_emb" else calls[:1]
    vector = np.concatenate([ops.to_numpy(call.output) for call in used], axis=1)
    return np.broadcast_to(vector, (rows, vector.shape[1]))


def _pack(text: NDArray[Any], mask: NDArray[Any] | None) -> NDArray[Any]:
    """Text [B, L, C] of all samples in one sequence without the masked tokens [1, ΣL, C], as officially kept."""
    B, L = text.shape[:2]
    lengths = [L] * B if mask is None else np.tile(_lengths(mask), B // mask.shape[0])
    return np.concatenate([row[:n] for row, n in zip(text, lengths, strict=True)])[None]
