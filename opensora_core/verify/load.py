"""The model that a golden set was recorded from, with its weights, on a backend."""

from __future__ import annotations

from typing import Any

from ..dit.config import STDiT3Config
from ..dit.mmdit import MMDiT
from ..dit.mmdit_config import MMDiTConfig
from ..dit.stdit import BUFFERS, STDiT, STDiTConfig
from ..dit.stdit2 import STDiT2, STDiT2Config
from ..dit.stdit3 import STDiT3
from ..dit.stdit3_windows import WindowedConfig, WindowedSTDiT3
from ..module import to_backend
from ..nn.init import ShapeInit
from ..ops import Ops
from ..serialization.state import fill
from .golden import GoldenSet

DENOISERS: dict[str, tuple[Any, Any]] = {
    "v1.0": (STDiT, STDiTConfig),
    "v1.1": (STDiT2, STDiT2Config),
    "v1.2": (STDiT3, STDiT3Config),
    "v1.3": (WindowedSTDiT3, WindowedConfig),
    "v2.0": (MMDiT, MMDiTConfig),
}


def load_denoiser(golden: GoldenSet, ops: Ops, donor: str | None = None) -> Any:
    """The denoiser of the set's release; WeightsError when weights are missing, too many or of other shapes.

    donor: a set beside it whose weights it uses if it has none of its own.
    """
    model, config = DENOISERS[golden.version]
    weights = {name: w for name, w in golden.weights(donor).items() if name not in BUFFERS}
    return to_backend(ops, fill(model.create(config.from_dict(golden.config), ShapeInit()), weights))
