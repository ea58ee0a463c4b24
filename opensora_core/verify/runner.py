"""Run every golden set below a folder on a backend and judge each number."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError, InvalidInputError, OpenSoraError
from ..ops import HALF, Ops
from ..registry import get_backend
from .autoencoders import hunyuan_vae, vae_pipeline, vae_v13
from .flow_v2 import v2_sample, v2_schedule
from .golden import KEY_MAP, GoldenSet, find_golden_sets
from .iddpm import iddpm_sample, iddpm_tables
from .keys import state_dict_keys
from .mmdit import mmdit
from .produced import Kind
from .rectified_flow import rflow_sample, rflow_timesteps, rflow_train
from .rectified_flow_v13 import rflow_sample_v13
from .report import Check, Report, Verdict, finite
from .rules import RULES, Expected, expect_plain, expect_recorded
from .stdit import stdit, stdit2, stdit3
from .tables import aspect, buckets, latent_size, mask_strategy, prompts
from .text_clean import text_clean

TABLES: dict[str, Callable[[GoldenSet], list[Check]]] = {
    KEY_MAP: state_dict_keys,
    "text_clean": text_clean,
    "aspect": aspect,
    "buckets": buckets,
    "latent_size": latent_size,
    "mask_strategy": mask_strategy,
    "prompts": prompts,
}  # sets without tensors, which no backend computes

KINDS: dict[str, Kind] = {
    "stdit": stdit,
    "stdit2": stdit2,
    "stdit3": stdit3,
    "stdit3_v13": stdit3,
    "mmdit": mmdit,
    "rflow_timesteps": rflow_timesteps,
    "rflow_sample": rflow_sample,
    "rflow_train": rflow_train,
    "iddpm_tables": iddpm_tables,
    "iddpm_sample": iddpm_sample,
    "rflow_sample_v13": rflow_sample_v13,
    "v2_schedule": v2_schedule,
    "v2_sample": v2_sample,
    "vae_pipeline": vae_pipeline,
    "vae_v13": vae_v13,
    "hunyuan_vae": hunyuan_vae,
}

VERSIONS = {
    "stdit": ("v1.0",),
    "stdit2": ("v1.1",),
    "stdit3_v13": ("v1.3",),
    "mmdit": ("v2.0",),
    "iddpm_tables": ("v1.0", "v1.1"),
    "iddpm_sample": ("v1.0", "v1.1"),
    "rflow_sample_v13": ("v1.3",),
    "v2_schedule": ("v2.0",),
    "v2_sample": ("v2.0",),
    "vae_v13": ("v1.3",),
    "hunyuan_vae": ("v2.0",),
}  # of the official code
DEFAULT_VERSIONS = ("v1.2",)


def verify(folder: str | Path, backend: str = "numpy", device: str | None = None, dtype: str = "float32") -> Report:
    """Run every golden set below `folder` on a backend; see `opensora_core.verify.golden` for the format.

    backend, device: as for `get_backend`. dtype: "float32" or "float64", judged by the recorded numbers, or
    "bfloat16" or "float16", judged by NumPy in the same dtype; `Report.rule` says how.
    A set of unknown kind, a damaged one, or one that the backend cannot run fails the report and stops nothing.
    Raises InvalidInputError when there is no such folder, backend or dtype, or no golden set below the folder.
    """
    paths = find_golden_sets(folder)
    ops = get_backend(backend, device=device, dtype=dtype)
    start = time.perf_counter()
    checks = [check for path in paths for check in check_set(path, ops)]
    seconds = time.perf_counter() - start
    name = ops.name if backend == "auto" else backend
    return Report(str(folder), name, ops.device, ops.dtype, RULES[ops.dtype], tuple(checks), seconds)


def check_set(path: Path, ops: Ops) -> list[Check]:
    """The rows of one golden set, given by its JSON file; whatever goes wrong becomes a row."""
    whole = Check(path.stem, "", "", "", "", "error")
    try:
        golden = GoldenSet.load(path)
        whole = replace(whole, kind=golden.kind, version=golden.version)
        if golden.kind in TABLES:
            return TABLES[golden.kind](golden)
        if golden.kind not in KINDS:
            return [
                replace(whole, verdict="unknown kind", note=f"{golden.kind!r}; known: {', '.join([*KINDS, *TABLES])}")
            ]
        _require_content(golden)
        return list(_compare(golden, KINDS[golden.kind], ops))
    except OpenSoraError as error:
        return [replace(whole, note=str(error))]
    except (Exception, SystemExit) as error:  # a backend under test may fail in any way; the other sets still count
        place = traceback.extract_tb(error.__traceback__)[-1]
        note = f"{type(error).__name__}: {error} (in {Path(place.filename).name}:{place.lineno}, {place.name})"
        return [replace(whole, note=note)]


def _require_content(golden: GoldenSet) -> None:
    """A set with nothing in it to compare, or of another release, must not look like a pass."""
    if not golden.cases:
        raise FileFormatError(f"golden set {golden.path} has no cases, so nothing was compared")
    known = VERSIONS.get(golden.kind, DEFAULT_VERSIONS)
    if golden.version not in known:
        raise InvalidInputError(f"version {golden.version!r} of {golden.kind}; known: {', '.join(known)}")
    if empty := [case.name for case in golden.cases.values() if not case.outputs]:
        raise FileFormatError(f"golden set {golden.path} records no outputs of case {empty[0]!r}")


def _compare(golden: GoldenSet, run: Kind, ops: Ops) -> Iterator[Check]:
    if ops.dtype in HALF:
        _require_reference(golden, run)
        expected = expect_plain(golden, run, ops.dtype)
        golden = replace(golden, rounding=ops.dtype)
        yield from _left_out(golden, expected)
    else:
        expected = expect_recorded(golden, ops.dtype)
    yield from _judge_all(golden, run, ops, expected)


def _require_reference(golden: GoldenSet, run: Kind) -> None:
    """The yardstick of half precision is NumPy, so NumPy must be right first."""
    ops = get_backend("numpy", device="cpu", dtype="float64")
    bad = [c for c in _judge_all(golden, run, ops, expect_recorded(golden, "float64")) if not c.ok]
    if bad:
        raise InvalidInputError(
            f"NumPy float64, the yardstick, is itself off in {len(bad)} tensors, first {bad[0].case}/{bad[0].tensor}"
        )


def _left_out(golden: GoldenSet, expected: Mapping[tuple[str, str], Expected]) -> Iterator[Check]:
    """Recorded tensors that mean nothing in half precision, so that nobody takes them for compared."""
    for case in golden.cases.values():
        for tensor in case.tensors:
            if (case.name, tensor) not in expected:
                note = "half precision says nothing here"
                yield Check(golden.name, golden.kind, golden.version, case.name, tensor, "not compared", note=note)


def _judge_all(golden: GoldenSet, run: Kind, ops: Ops, expected: Mapping[tuple[str, str], Expected]) -> Iterator[Check]:
    missing = dict(expected)
    for case, tensor, value in run(golden, ops):
        if (case, tensor) not in expected:
            continue  # more is computed than was recorded
        want = missing.pop((case, tensor))
        verdict, note, max_abs, rel_l2 = _judge(value, want)
        row = Check(golden.name, golden.kind, golden.version, case, tensor, verdict, max_abs, rel_l2)
        yield replace(row, tolerance=want.tolerance, allowance=want.allowance, note=note)
    for case, tensor in missing:
        verdict, note = ("not compared", "") if tensor.startswith("mid/") else ("fail", "not computed")
        yield Check(golden.name, golden.kind, golden.version, case, tensor, verdict, note=note)


def _judge(value: NDArray[Any], want: Expected) -> tuple[Verdict, str, float | None, float | None]:
    if value.shape != want.value.shape:
        return "fail", f"shape {value.shape}, expected {want.value.shape}", None, None
    expected, found = want.value.astype(np.float64), value.astype(np.float64)
    if bad := int(np.count_nonzero(~np.isfinite(found))):
        return "fail", f"{bad} of {found.size} numbers are not finite", None, None
    wrong = value.dtype != want.dtype
    note = f"dtype {value.dtype}, expected {want.dtype}" if wrong else ""
    error, norm = found - expected, float(np.linalg.norm(expected))
    max_abs = float(np.max(np.abs(error), initial=0.0))
    rel_l2 = finite(float(np.linalg.norm(error)) / norm) if norm else None
    return "pass" if max_abs <= want.allowance and not wrong else "fail", note, max_abs, rel_l2
