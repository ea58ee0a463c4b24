"""Two backends in lockstep through a generation: agreement, and who is to blame where there is none."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_backends.torch_ops import TorchOps
from opensora_core.errors import InvalidInputError, ProtocolError
from opensora_core.interpose import Lockstep
from opensora_core.interpose.lockstep import DRIFT, Pair
from opensora_core.module import state_dict
from opensora_core.parity import parity
from opensora_core.pipelines.opensora import OpenSora
from tests.parity import wrong
from tests.pipelines.models import clip

STEPS = {"num_inference_steps": 2, "guidance_scale": 3.0}


def blame(finding):
    """Ops from the first one beyond tolerance to the innermost."""
    return [] if finding is None else [finding.op, *blame(finding.inside)]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("reference", "candidate"), [(NumpyOps, TorchOps), (TorchOps, NumpyOps)])
@pytest.mark.parametrize("mode", ["own", "reference"])
def test_backends_that_are_right_agree(nano, dtype, reference, candidate, mode):
    report = parity(reference(dtype=dtype), candidate(dtype=dtype), model=nano, mode=mode, **STEPS)
    assert report.ok, report.verdict()
    assert report.drift.beyond == 0
    assert len(report.latents) == len(report.drift.marks) == 2
    if mode == "own":
        assert 0 < report.latents[-1].rel_l2 <= DRIFT[dtype]
        assert report.drift.by_block["denoiser.spatial_blocks.0"].worst > 0
    else:
        assert report.latents[-1].rel_l2 == 0


def test_a_backend_beside_itself_shows_no_difference(nano):
    report = parity(NumpyOps(), NumpyOps(), model=nano, **STEPS)
    assert report.ok
    assert not any(report.drift.curve)
    assert sum(row.calls for row in report.drift.by_op.values()) == report.drift.ops > 200
    assert sum(row.calls for row in report.drift.by_block.values()) == report.drift.ops


@pytest.mark.parametrize("mode", ["own", "reference"])
@pytest.mark.parametrize(
    ("candidate", "ops", "module"),
    [
        (wrong.WrongEps, ["attention_3d", "rms_norm"], "denoiser.spatial_blocks.0.attn"),
        (wrong.WrongRotary, ["attention_3d", "rms_norm_rotary", "rotary"], "denoiser.temporal_blocks.0.attn"),
        (wrong.WrongSqrt, ["attention_3d", "rms_norm", "sqrt"], "denoiser.spatial_blocks.0.attn"),
    ],
)
def test_the_first_wrong_op_is_named_with_its_place_and_zoom_goes_to_the_bottom_of_it(
    nano, mode, candidate, ops, module
):
    size = {"height": 32, "width": 32}  # with one patch a frame, spatial attention does not depend on its logits
    report = parity(NumpyOps(), candidate(), model=nano, mode=mode, zoom=True, **STEPS, **size)
    first = report.first
    assert not report.ok
    assert blame(first) == ops
    assert first.place.module == module
    assert first.place.line.startswith("opensora_core/nn/attention.py:")
    assert first.step == 0
    assert first.arguments[:2] == ("float32[2, 2, 4, 3, 2, 8]", repr(module.split("_")[0].split(".")[1]))
    assert first.difference.rel_l2 > 1e-4
    assert first.errors.guilty == "candidate"
    last = first.innermost
    assert last.errors.guilty == "candidate"
    assert last.own.candidate == (ops[-1] != "sqrt")
    told = "\n".join(report.verdict())
    assert f"attention_3d, step 1, in {module}" in told
    assert ("look at the own" in told) == (ops[-1] != "sqrt")
    assert parity(NumpyOps(), candidate(), model=nano, mode=mode, **STEPS, **size).first.inside is None


def test_a_wrong_reference_is_found_out(nano):
    report = parity(wrong.WrongEps(), NumpyOps(), model=nano, zoom=True, **STEPS)
    assert blame(report.first) == ["attention_3d", "rms_norm_rotary", "rms_norm"]
    assert report.first.errors.guilty == "reference"
    assert "the reference is to blame" in "\n".join(report.verdict())


def test_errors_too_small_to_drift_are_found_by_judging_each_op(nano):
    own, each = (
        parity(NumpyOps(), wrong.SlightlyWrongGelu(), model=nano, mode=mode, zoom=True, **STEPS)
        for mode in ("own", "reference")
    )
    assert own.ok
    assert blame(each.first) == ["gelu"]
    assert each.first.place.module == "text_encoder.blocks.0.mlp"
    assert each.drift.beyond == each.drift.by_op["gelu"].calls == each.drift.by_op["gelu"].beyond


def test_drift_over_the_limit_without_a_wrong_op_says_how_to_go_on(nano):
    report = parity(NumpyOps(), wrong.SlightlyWrongGelu(), model=nano, limit=1e-9, mode="own", **STEPS)
    assert report.first.op == "gelu"
    report = parity(NumpyOps(), TorchOps(), model=nano, limit=1e-9, **STEPS)
    assert report.first is None
    assert not report.ok
    assert "--mode reference" in report.verdict()[1]


@pytest.mark.parametrize("mode", ["own", "reference"])
@pytest.mark.parametrize(
    ("candidate", "op", "note"),
    [
        (wrong.LacksGelu, "gelu", "NotImplementedError: gelu is not there yet"),
        (wrong.WideSilu, "silu", "dtype float64, not float32"),
        (wrong.FlatSilu, "silu", "shape [32], not [2, 16]"),
        (wrong.NoArray, "silu", "it returns list, not an array"),
        (wrong.NotANumber, "modulate", "a number is not finite on one side only"),
    ],
)
def test_a_backend_that_fails_gets_a_report(nano, mode, candidate, op, note):
    report = parity(NumpyOps(), candidate(), model=nano, mode=mode, zoom=True, **STEPS)
    assert report.first.op == op
    assert note in report.first.difference.note
    assert note in "\n".join(report.verdict())
    assert not report.ok
    assert len(report.latents) == 2  # the run came to its end
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_backend_that_takes_no_array_is_refused(nano):
    with pytest.raises(ProtocolError, match=r"unreachable.asarray cannot take float32\[.*OSError: no device"):
        parity(NumpyOps(), wrong.Unreachable(), model=nano)


def test_a_candidate_cannot_write_into_the_reference(nano):
    report = parity(NumpyOps(), wrong.Writes(), model=nano, mode="reference", **STEPS)
    assert report.first.op == "silu"
    assert "read-only" in report.first.difference.note


@pytest.mark.parametrize(
    "options",
    [
        {"image": clip()[0]},
        {"video": "clip", "num_frames": 7},
        {"num_frames": 9, "height": 24, "negative_prompt": "a blue star"},
        {"num_frames": 1, "guidance_scale": 1},
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_whatever_can_be_generated_can_be_compared(nano, options, dtype):
    from opensora_core.media.video import Video

    options = {**options, "video": Video(clip(), 8.0)} if "video" in options else options
    report = parity(NumpyOps(dtype=dtype), TorchOps(dtype=dtype), model=nano, **{**STEPS, **options})
    assert report.ok, report.verdict()
    made = OpenSora.from_pretrained(nano, backend=NumpyOps(dtype=dtype))
    *steps, _ = made.stream(report.settings["prompt"], seed=0, **{**STEPS, **options})
    assert len(report.latents) == len(steps)


def test_a_prompt_given_as_read_only_features_can_be_compared(nano):
    rng = np.random.default_rng(0)
    config = OpenSora.read_config(nano)
    embeds = rng.standard_normal((1, config.text.max_length, config.text.hidden_size)).astype(np.float32)
    embeds.flags.writeable = False
    report = parity(NumpyOps(), TorchOps(), "", model=nano, prompt_embeds=embeds, **STEPS)
    assert report.ok, report.verdict()
    assert "text_encoder" not in report.drift.by_block


def test_nothing_but_weights_and_sums_stays_in_memory(nano):
    lockstep = Lockstep(NumpyOps(), TorchOps())
    model = OpenSora.from_pretrained(nano, backend=lockstep)
    model.generate_from_text("a red circle", seed=0, **STEPS)
    gc.collect()
    held = [x for x in gc.get_objects() if type(x) is Pair and x.ops is lockstep]
    assert len(held) == len(state_dict(model._parts))
    assert lockstep.drift.curve.itemsize == 8


def test_what_cannot_be_compared_is_refused(nano):
    with pytest.raises(InvalidInputError, match="float32, but numpy float64"):
        parity(NumpyOps(), NumpyOps(dtype="float64"), model=nano)
    with pytest.raises(InvalidInputError, match="mode='both'"):
        parity(NumpyOps(), NumpyOps(), model=nano, mode="both")
    with pytest.raises(InvalidInputError, match="stepz"):
        parity(NumpyOps(), NumpyOps(), model=nano, stepz=3)


def test_the_report_as_data_has_every_number(nano):
    report = parity(NumpyOps(), wrong.WrongSqrt(), model=nano, zoom=True, seed=4, **STEPS)
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (told["ok"], told["mode"], told["dtype"]) == (False, "own", "float32")
    assert told["settings"]["seed"] == 4
    assert told["first"]["inside"]["inside"]["inside"]["op"] == "sqrt"
    assert told["first"]["errors"]["guilty"] == "candidate"
    assert {row["name"] for row in told["by_op"]} == set(report.drift.by_op)
    assert told["ops"] == sum(row["calls"] for row in told["by_block"])
    assert [tables[0][0] for tables in report.tables()] == ["block", "op"]
