"""Golden sets of kind `mmdit`: the v2.0 denoiser in all its layouts, with what flows through it on the way."""

from __future__ import annotations

from collections.abc import Iterator

from ..capture import capture
from ..ops import Ops
from .golden import GoldenSet, bring
from .load import load_denoiser
from .produced import Produced

VECTORS = ("img_in", "txt_in", "time_in", "vector_in", "cond_in")
"""Modules whose outputs were recorded under their names; a layout may lack the last."""


def mmdit(golden: GoldenSet, ops: Ops) -> Iterator[Produced]:
    """One prediction per case, with every recorded intermediate."""
    model = load_denoiser(golden, ops)
    names = [name for name in VECTORS if getattr(model, name) is not None]
    for name, case in golden.cases.items():
        inputs = {key: bring(ops, x) for key, x in golden.inputs(name).items()}
        watched, calls = capture(model, [*names, "double_blocks.0", "single_blocks.0"])
        out = watched(
            ops, inputs["img"], inputs["timesteps"], inputs["txt"], inputs["y_vec"], inputs.get("cond"),
            tuple(case.args["thw"]), inputs.get("guidance"),
        )  # fmt: skip
        [double], [single] = calls["double_blocks.0"], calls["single_blocks.0"]
        mids = {key: calls[key][0].output for key in names}
        mids |= {"vec": double.args[2], "double0_img": double.output[0], "double0_txt": double.output[1]}
        yield Produced(name, "out/y", ops.to_numpy(out))
        for key, value in {**mids, "single0": single.output}.items():
            yield Produced(name, f"mid/{key}", ops.to_numpy(value))
