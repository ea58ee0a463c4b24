"""Tables {weight name: [length, ..., dtype]} of published checkpoints: whether the model here has just those weights.

Only names and shapes are compared; nothing of the model's size is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..dit.config import STDiT3Config
from ..dit.stdit3 import STDiT3
from ..errors import WeightsError
from ..module import state_dict
from ..nn.init import ShapeInit
from ..serialization.state import check_state
from .golden import GoldenSet
from .report import Check

Shapes = Mapping[str, tuple[int, ...]]


def state_dict_keys(golden: GoldenSet) -> list[Check]:
    """One row: a weightless model of the size that the shapes imply has the names and shapes of the table."""
    shapes = {name: tuple(entry[:-1]) for name, entry in golden.table.items()}
    row = Check(golden.name, golden.kind, golden.version, "", "keys", "pass")
    try:
        config = config_of(shapes)
    except WeightsError as error:
        return [replace(row, verdict="unknown kind", note=str(error))]
    model = STDiT3.create(config, ShapeInit())
    try:
        check_state(shapes, {name: tuple(leaf.shape) for name, leaf in state_dict(model).items()})
    except WeightsError as error:
        return [replace(row, verdict="fail", note=str(error))]
    return [row]


def config_of(shapes: Shapes) -> STDiT3Config:
    """The configuration of the STDiT3 with weights of these shapes; WeightsError where it is no STDiT3."""
    try:
        C, in_channels, *patch = shapes["x_embedder.proj.weight"]
        out_rows = shapes["final_layer.linear.weight"][0]
        length, caption = shapes["y_embedder.y_embedding"]
        return STDiT3Config(
            in_channels=in_channels,
            patch_size=(patch[0], patch[1], patch[2]),
            hidden_size=C,
            depth=sum(name.startswith("spatial_blocks.") and name.endswith(".scale_shift_table") for name in shapes),
            num_heads=C // (2 * shapes["rope.freqs"][0]),
            mlp_ratio=shapes["spatial_blocks.0.mlp.fc1.weight"][0] / C,
            pred_sigma=out_rows == 2 * in_channels * patch[0] * patch[1] * patch[2],
            caption_channels=caption,
            model_max_length=length,
            qk_norm="spatial_blocks.0.attn.q_norm.weight" in shapes,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(f"these are not the weights of an STDiT3 ({type(error).__name__}: {error})") from error
