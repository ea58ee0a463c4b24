"""plan tells the memory of every stage, of a release by its name and of weights on the disk."""

from __future__ import annotations

from typing import Any

import numpy as np

from opensora_core.dit.config import STDiT3Config
from opensora_core.dit.stdit3 import STDiT3
from opensora_core.module import state_dict
from opensora_core.nn.init import RandomInit
from opensora_core.serialization.writer import write_safetensors
from tests.cli.conftest import document

CONFIG = STDiT3Config(hidden_size=64, depth=1, num_heads=2, caption_channels=16, model_max_length=6)


def test_a_release_is_planned_by_its_name(opensora: Any) -> None:
    told = document(opensora("plan", "--model", "v1.2", "--resolution", "720p", "--frames", "102", "--json"))
    assert sorted((told["height"], told["width"])) == [720, 1280]
    assert (told["num_frames"], told["clip_frames"]) == (102, 51)
    assert told["peak"] == max(s["weights"] + s["activations"] + s["process"] for s in told["stages"])
    assert [stage["name"] for stage in told["stages"]] == ["text encoder", "given frames", "denoiser", "autoencoder"]


def test_the_picture_of_t2i2v_is_asked_for_by_its_condition_type(opensora: Any) -> None:
    asked = ("--cond-type", "t2i2v", "--image-resolution", "256px", "--frames", "5", "--dtype", "bfloat16")
    stages = document(opensora("plan", "--model", "v2.0", *asked, "--json"))["stages"]
    assert [stage["name"] for stage in stages[2:4]] == ["image denoiser", "image autoencoder"]


def test_weights_on_the_disk_are_planned_at_their_own_size(opensora: Any) -> None:
    weights = {name: np.asarray(array) for name, array in state_dict(STDiT3.create(CONFIG, RandomInit(1))).items()}
    write_safetensors("small.safetensors", weights)
    size = ("--height", "96", "--width", "160", "--frames", "17")
    shown = opensora("plan", "--model", "small.safetensors", *size, "--dtype", "bfloat16").stdout
    assert "Open-Sora v1.2: 17 frames of 160x96, torch in bfloat16" in shown
    assert [line.split()[0] for line in shown.splitlines()[3:6]] == ["text", "denoiser", "autoencoder"]
    stages = document(opensora("plan", "--model", "small.safetensors", *size, "--json"))["stages"]
    assert stages[1]["weights"] == sum(array.nbytes for array in weights.values())


def test_what_cannot_be_planned_is_said(opensora: Any) -> None:
    refused = opensora("plan", "--model", "v1.2", "--resolution", "721p")
    assert (refused.exit_code, "is not one of" in refused.stderr) == (2, True)
    refused = opensora("plan", "--model", "v1.2", "--height", "721", "--width", "1280")
    assert (refused.exit_code, "nearest is 1280x720" in refused.stderr) == (2, True)
