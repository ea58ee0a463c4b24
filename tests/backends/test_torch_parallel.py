"""Sampling shared by two processes gives what one gives, and each does its part only."""

from __future__ import annotations

import json

import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.testing.conformance import require
from tests.pipelines.models import make
from tests.training.processes import finish, start

require("torch")
PROGRAM = """
import json
import torch.distributed as dist
from opensora_backends.torch_ops import TorchOps
from opensora_backends.torch_parallel import parallel
from tests.pipelines.models import PROMPT, distance, latents, make

dist.init_process_group("gloo")
seen, attend = [], TorchOps.attention_3d
def watched(self, qkv, pattern, *rest, **named):
    seen.append((pattern, *qkv.shape))
    return attend(self, qkv, pattern, *rest, **named)
TorchOps.attention_3d = watched

told = {}
for dtype in ("float32", "float64"):
    model = make("torch", dtype, guidance_interval=(0.0, 800.0))
    options = {"num_frames": 9, "height": 40, "width": 40, "num_inference_steps": 3, "seed": 4, "guidance_scale": 3.0}
    seen.clear()
    alone = latents(model, PROMPT, **options)
    whole = sorted(set(seen))
    for how in ("sequence", "guidance"):
        seen.clear()
        found = latents(parallel(model, how), PROMPT, **options)
        told[f"{how} {dtype}"] = [distance(found, alone), whole, sorted(set(seen))]
print(json.dumps(told))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def told():
    """What two processes say of their samples: distance to those of one, and the shapes of attention in both."""
    return [json.loads(stdout) for stdout, _ in finish(start(["-c", PROGRAM]))]


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("how", ["sequence", "guidance"])
def test_two_processes_sample_what_one_does(told, how, dtype, limit):
    assert [of[f"{how} {dtype}"][0] < limit for of in told] == [True, True]


def test_tokens_are_shared_but_for_attention_among_them_whose_heads_are(told):
    for of in told:
        _, whole, shared = of["sequence float32"]
        S, H = whole[0][3], whole[0][5]
        assert S % 2 == 1, "so that what fills up the parts counts"
        for pattern, B, T, s, _, h, D in shared:
            assert (s, h) == ((S, H // 2) if pattern == "spatial" else ((S + 1) // 2, H))
            assert [pattern, B, T, D] in [[*row[:3], row[-1]] for row in whole]


def test_each_process_computes_one_half_of_guidance(told):
    for of in told:
        _, whole, shared = of["guidance float32"]
        assert {row[1] for row in whole} == {1, 2}, "guided inside the interval alone"
        assert {row[1] for row in shared} == {1}


def test_what_cannot_be_shared_is_refused(monkeypatch):
    from opensora_backends import torch_parallel

    with pytest.raises(InvalidInputError, match="how='both' is not one of sequence, guidance"):
        torch_parallel.parallel(make("torch"), "both")
    with pytest.raises(InvalidInputError, match="'numpy' computes in one process"):
        torch_parallel.parallel(make("numpy"), "guidance")
    with pytest.raises(InvalidInputError, match="there is no process group"):
        torch_parallel.parallel(make("torch"), "guidance")
    monkeypatch.setattr(torch_parallel.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(torch_parallel.dist, "get_world_size", lambda: 3)
    with pytest.raises(InvalidInputError, match="num_heads=2 must be a multiple of the 3 processes"):
        torch_parallel.parallel(make("torch"), "sequence")
    with pytest.raises(InvalidInputError, match="is a GuidanceParallel; only a plain STDiT3"):
        torch_parallel.parallel(torch_parallel.parallel(make("torch"), "guidance"), "sequence")
