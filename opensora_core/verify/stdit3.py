"""Golden sets of kind `stdit3`: the v1.2 denoiser, its output and what flows through it on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..capture import Call, capture
from ..dit.config import STDiT3Config
from ..dit.embedders import unpack_text
from ..dit.stdit3 import STDiT3
from ..module import to_backend
from ..nn.init import ShapeInit
from ..ops import Array, Ops
from ..serialization.state import fill
from .golden import GoldenSet, bring
from .produced import Produced


def stdit3(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """One prediction per case, with every recorded intermediate."""
    model = load_model(golden, ops)
    for case in golden.cases:
        inputs = golden.inputs(case)
        given = {name: bring(ops, x) for name, x in inputs.items() if name not in ("y", "mask", "height", "width")}
        y, mask = _text(ops, model, inputs)
        watched, calls = capture(model, _parts(model))
        size = float(inputs["height"][0]), float(inputs["width"][0])
        out = watched(ops, given["x"], given["timestep"], y, mask, given.get("x_mask"), given["fps"], *size)
        yield Produced(case, "out/y", ops.to_numpy(out))
        for name, value in _mids(ops, model, calls, mask).items():
            yield Produced(case, f"mid/{name}", value)


def load_model(golden: GoldenSet, ops: Ops, donor: str | None = None) -> STDiT3:
    """The model of a golden set on a backend; WeightsError when weights are missing, too many or of other shapes."""
    model = STDiT3.create(STDiT3Config.from_dict(golden.config), ShapeInit())
    return to_backend(ops, fill(model, golden.weights(donor)))


def _text(ops: Ops, model: STDiT3, inputs: dict[str, NDArray[Any]]) -> tuple[Array, Array | None]:
    y, mask = bring(ops, inputs["y"]), inputs.get("mask")
    if not model.config.skip_y_embedder:
        return y, None if mask is None else bring(ops, mask)
    if mask is None:
        raise ValueError("text that is embedded already comes with the lengths of the prompts as its mask")
    return unpack_text(ops, y, [int(n) for n in (mask if mask.ndim == 1 else mask.sum(axis=1))])


def _parts(model: STDiT3) -> list[str]:
    last = f"temporal_blocks.{model.config.depth - 1}"
    blocks = ["spatial_blocks.0", "spatial_blocks.0.cross_attn.kv_linear", "temporal_blocks.0", last]
    return ["x_embedder.proj", "t_embedder", "fps_embedder", "t_block.1", *blocks, "final_layer"]


def _mids(ops: Ops, model: STDiT3, calls: dict[str, list[Call]], mask: Array | None) -> dict[str, NDArray[Any]]:
    """Intermediates under their recorded names; of parts called twice (time 0 of given frames) the first call."""
    outputs = {name: ops.to_numpy(called[0].output) for name, called in calls.items()}
    text = ops.to_numpy(calls["spatial_blocks.0.cross_attn.kv_linear"][0].args[0])  # (B, L, C)
    return {
        "x_embedder": _tokens(outputs["x_embedder.proj"]),
        "x_pos": _tokens(ops.to_numpy(calls["spatial_blocks.0"][0].args[0])),
        "t_emb": outputs["t_embedder"],
        "fps_emb": outputs["fps_embedder"],
        "t_block": outputs["t_block.1"],
        "y_packed": _pack(text, None if mask is None else ops.to_numpy(mask)),
        "spatial0": _tokens(outputs["spatial_blocks.0"]),
        "temporal0": _tokens(outputs["temporal_blocks.0"]),
        "last_block": _tokens(outputs[f"temporal_blocks.{model.config.depth - 1}"]),
        "final_layer": _tokens(outputs["final_layer"]),
    }


def _tokens(x: NDArray[Any]) -> NDArray[Any]:
    return x.reshape(x.shape[0], -1, x.shape[-1])  # (B, T, S, C) -> (B, N, C)


def _pack(text: NDArray[Any], mask: NDArray[Any] | None) -> NDArray[Any]:
    """Text [B, L, C] of all samples in one sequence without the masked tokens [1, ΣL, C], as officially kept."""
    if mask is None:
        return text.reshape(1, -1, text.shape[-1])
    keep = np.tile(mask != 0, (text.shape[0] // mask.shape[0], 1))  # (B, L)
    return text[np.newaxis, keep]
