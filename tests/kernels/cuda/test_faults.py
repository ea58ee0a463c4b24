"""The tests of the attention kernels bite: every seeded fault shows, in one of a few tiny cases and six orders."""

from functools import cache

import ml_dtypes
import numpy as np
import pytest

from opensora_kernels.cuda.attention import AttentionKernels
from opensora_kernels.cuda.attention_backward import AttentionGradients
from opensora_kernels.cuda.launching import SOURCES
from opensora_kernels.emulation import SCHEDULES, GuardedNumPy, LaunchError, guarded, schedule
from tests.kernels.cuda.emulated import Emulated, assert_attends, norms, tables, video
from tests.kernels.cuda.test_attention_backward import tape

from .faults import BACKWARD, COMMON, FAULTS, FLASH, TEMPORAL

KERNELS = {
    TEMPORAL: ("temporal_attention<__nv_bfloat16, 72, 16, 4>", "temporal_attention_plain<float>"),
    FLASH: ("flash_attention<__nv_bfloat16, 72, 4>", "flash_attention_plain<float, 3>"),
    BACKWARD: (
        *(f"attention_delta<{t}>" for t in ("__nv_bfloat16", "float")),
        *(f"attention_backward<__nv_bfloat16, 72, 4, {side}>" for side in ("false, true, false", "true, true, true")),
        *(f"attention_backward_plain<float, 3, {side}>" for side in ("false", "true")),
    ),
}
SCALES = {"loud": 2.0, "quiet": 1e-3}


def in_a_namespace(file, name, before="", after=""):
    """The kernel's source with all that it includes and what may be faulty in it, under a name of its own."""
    text = "\n".join((SOURCES / source).read_text() for source in (COMMON, file))
    assert text.count(before) >= 1, f"{name}: the fault's place is gone: {before!r}"
    lines = text.replace(before, after, 1).splitlines() if before else text.splitlines()
    kept = [line for line in lines if not line.startswith(("#include", "#pragma once"))]
    return "\n".join(("#undef PARAMETERS", "#undef BEGIN_SEQUENCE", f"namespace {name} {{", *kept, "}"))


@cache
def compiled(file):
    """All faulty variants of a source file, and the sound one, in one module."""
    variants = {"sound": ("", "")}
    for i, (_, where, before, after) in enumerate(FAULTS):
        if where == file or (where == COMMON and file == FLASH):
            variants[f"fault_{i}"] = before, after
    code = "\n".join(('#include "numbers.cuh"', *(in_a_namespace(file, name, *v) for name, v in variants.items())))
    names = [f"{variant}::{name}" for variant in variants for name in KERNELS[file]]
    return Emulated({file: names}, code={file: code})


class Variant:
    """A `GetKernel` of one variant."""

    def __init__(self, file, name):
        self.emulated, self.name = compiled(file), name

    def __call__(self, file, name):
        if file not in self.emulated.modules:  # the gradients' kernels are faulty, what they are given is sound
            return compiled(file)(file, f"sound::{name}")
        self.last = self.emulated(file, f"{self.name}::{name}")
        return self.last


@cache
def inputs(seed, dtype, B, T, S, H, D, scale):
    rng = np.random.default_rng(seed)
    qkv = guarded((video(rng, B, T, S, H, D, np.float32) * SCALES[scale]).astype(dtype))
    return qkv, norms(rng, D, qkv.dtype), rng


def temporal_cases(kernels, dtype):
    for T, H, given, scale in ((1, 1, "", "loud"), (2, 3, "nr", "loud"), (15, 6, "nr", "loud"), (3, 2, "n", "quiet")):
        qkv, weights, rng = inputs(T, dtype, 1, T, 3, H, 72, scale)
        prepared = (*(weights if "n" in given else (None, None)), *(tables(rng, T, 72) if "r" in given else ()))
        yield
        out = kernels.attention_3d(qkv, "temporal", *prepared)
        assert_attends(out, "attention_3d", qkv, "temporal", *prepared)


def flash_cases(kernels, dtype):
    D = 72
    for queries, keys in ((3, 1), (17, 2), (1, 65), (70, 140)):
        (q, k, v), rng = rows(queries, keys, D, dtype)
        mask = rng.random((queries, keys)) < 0.4
        for seen in (None, mask):
            yield
            out, lse = kernels.attention(q, k, v, seen, with_lse=True)
            assert_attends(out, "attention", q, k, v, seen)
            assert_log_sums(lse, q, k, seen)
    yield
    out = kernels.attention(q, k, v, lengths=np.array([33], np.int32))
    assert_attends(out, "attention", q, k, v, np.arange(140) < 33)
    for given, scale in (("n", "loud"), ("nr", "loud"), ("n", "quiet")):
        qkv, weights, rng = inputs(7, dtype, 1, 1, 70, 1, D, scale)
        prepared = (*weights, *(tables(rng, 70, D) if "r" in given else ()))
        yield
        out = kernels.attention_3d(qkv, "spatial", *prepared)
        assert_attends(out, "attention_3d", qkv, "spatial", *prepared)


def backward_cases(kernels, dtype):
    gradients = AttentionGradients(kernels.xp, kernels.get_kernel)
    cases = [(3, 1, None, None), (17, 2, None, None), (70, 65, None, None), (9, 70, None, 33), (40, 70, 0.4, None)]
    for queries, keys, share, length in cases:
        (q, k, v), rng = rows(queries, keys, 72, dtype)
        g = guarded(rng.standard_normal(q.shape).astype(dtype))
        mask = None if share is None else rng.random((queries, keys)) < share
        lengths = None if length is None else np.array([length], np.int32)
        yield
        out, lse = kernels.attention(q, k, v, mask, lengths=lengths, with_lse=True)
        found = gradients.gradients(q, k, v, out, lse, g, mask, lengths=lengths)
        seen = mask if length is None else np.arange(keys) < length
        for x, true in zip(found, tape(q, k, v, g, seen, 72**-0.5), strict=True):
            size = np.abs(true).max()
            allowed = 0.03 * max(size, 0.1) if dtype.itemsize == 2 else 1e-5 * max(size, 1.0)
            assert np.abs(x.astype(np.float64) - true).max() <= allowed


@cache
def rows(queries, keys, D, dtype):
    rng = np.random.default_rng(keys)
    return [guarded((rng.standard_normal((1, 1, n, D)) * 2).astype(dtype)) for n in (queries, keys, keys)], rng


def assert_log_sums(lse, q, k, seen):
    logits = np.float64(q) @ np.swapaxes(np.float64(k), -1, -2) / np.sqrt(q.shape[-1])
    with np.errstate(divide="ignore"):
        truth = np.log((np.exp(logits) * (True if seen is None else seen)).sum(-1))
    np.testing.assert_allclose(lse, truth, rtol=0, atol=1e-3)


def run(file, name):
    """All cases in all orders; stops at the first that shows the fault."""
    variant = Variant(file, name)
    kernels = AttentionKernels(GuardedNumPy(), variant)
    for dtype in (ml_dtypes.bfloat16, np.float32):
        for order in SCHEDULES:
            with schedule(order):
                for _ in {TEMPORAL: temporal_cases, FLASH: flash_cases, BACKWARD: backward_cases}[file](
                    kernels, np.dtype(dtype)
                ):
                    if getattr(variant, "last", None) is not None:
                        assert not variant.last.counters["bank_conflicts"]


@pytest.fixture(autouse=True)
def one_resident_block(monkeypatch):
    monkeypatch.setattr("opensora_kernels.cuda.attention.RESIDENT_BLOCKS", 1)  # so that blocks go on to a next place


@pytest.mark.parametrize("file", [TEMPORAL, FLASH, BACKWARD])
def test_the_sound_kernels_pass(file):
    run(file, "sound")


@pytest.mark.filterwarnings("ignore:::numpy")  # NaN in what is faulty
@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[fault[0].replace(" ", "-") for fault in FAULTS])
def test_a_seeded_fault_shows(number):
    where = FAULTS[number][1]
    with pytest.raises((LaunchError, AssertionError)):
        run(FLASH if where == COMMON else where, f"fault_{number}")
