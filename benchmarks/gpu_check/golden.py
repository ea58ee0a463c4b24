"""Outputs of every PTX wrapper as this device gives them: golden_ptx.npz, for the emulation to be held against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from device import Check

TYPES = {"__half": np.float16, "__nv_bfloat16": ml_dtypes.bfloat16}
EXACT = ("ldmatrix", "cp_async")  # moves of bits; the others compute and may round otherwise
LIMITS = {"mma": 1e-5, "ex2": 3e-7}  # of the largest output


def inputs() -> dict[str, np.ndarray[Any, Any]]:
    """The same on every machine."""
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray[Any, Any]] = {
        "ldmatrix": rng.integers(0, 2**32, 128, np.uint32),
        "cp_async": rng.integers(0, 2**32, 128, np.uint32),
        "ex2": np.concatenate([rng.uniform(-126, 10, 1000), [0, -150, -np.inf]]).astype(np.float32),
        "mma_c": rng.standard_normal((32, 4)).astype(np.float32),
    }
    for name, kind in TYPES.items():
        found[f"mma_a_{name}"] = rng.standard_normal((32, 8)).astype(kind).view(np.uint32)
        found[f"mma_b_{name}"] = rng.standard_normal((32, 4)).astype(kind).view(np.uint32)
    return found


def outputs(xp: Any, raw_module: Any, options: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
    """What the device makes of them."""
    templates = [f"golden_mma<{name}>" for name in TYPES]
    code = (Path(__file__).parent / "golden.cu").read_text()
    module = raw_module(code=code, options=options, name_expressions=tuple(templates))
    given = {name: xp.array(x) for name, x in inputs().items()}
    out = {"ldmatrix": xp.zeros(448, np.uint32), "cp_async": xp.zeros(384, np.uint32)}
    out["ex2"] = xp.zeros(given["ex2"].shape, np.float32)
    for name in EXACT:
        module.get_function(f"golden_{name}")((1,), (32,), (given[name], out[name]), shared_mem=2048)
    module.get_function("golden_ex2")((1,), (128,), (given["ex2"], out["ex2"], np.int32(given["ex2"].size)))
    for name in TYPES:
        out[f"mma_{name}"] = xp.zeros((2, 32, 4), np.float32)
        args = (given[f"mma_a_{name}"], given[f"mma_b_{name}"], given["mma_c"], out[f"mma_{name}"])
        module.get_function(f"golden_mma<{name}>")((1,), (32,), args)
    return {name: x.get() for name, x in out.items()}


def differences(got: dict[str, Any], want: dict[str, Any]) -> list[str]:
    """What one device gives that another does not, in words."""
    found = []
    for name, x in want.items():
        y = got[name]
        if name in EXACT:
            if (wrong := int((x != y).sum())) > 0:
                found.append(f"{name}: {wrong} of {x.size} registers differ, first at {int(np.argmax(x != y))}")
            continue
        error = float(np.abs(x.astype(np.float64) - y).max() / np.abs(x).max())
        limit = LIMITS[name.partition("_")[0]]
        if not error <= limit:
            found.append(f"{name}: relative error {error:.3g}, allowed {limit:.3g}")
    return found


def run(check: Check) -> dict[str, Any]:
    """Write golden_ptx.npz, and compare with the emulation where g++ is here."""
    import shutil

    from opensora_backends.cuda_kernels import OPTIONS
    from opensora_kernels.cupy_on_cpu import RawModule, StandIn

    here = outputs(check.xp, check.libraries.raw_module, OPTIONS)
    np.savez_compressed(check.out / "golden_ptx.npz", **here)
    if shutil.which("g++") is None:
        return {"outputs": sorted(here), "emulation": "not compared: g++ is not here"}
    return {"outputs": sorted(here), "failures": differences(outputs(StandIn(), RawModule, OPTIONS), here)}
