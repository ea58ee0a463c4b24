"""LoRA: adapters that begin as nothing, learn alone, are kept alone, and become part of the weights."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from opensora_core.errors import FileFormatError, InvalidInputError, WeightsError
from opensora_core.module import state_dict
from opensora_core.nn.lora import adapters_of
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.pipelines.training import trained_model
from opensora_core.pipelines.training_run import Run
from opensora_core.registry import get_backend
from opensora_core.serialization.folder import load_folder
from opensora_core.serialization.reader import open_safetensors
from opensora_core.serialization.writer import write_safetensors
from opensora_core.training.lora import read_lora, save_lora
from opensora_core.training.objective import training_loss
from tests.cli.conftest import RECIPE
from tests.pipelines.models import PROMPT, latents, make
from tests.training.tiny import trainer

LORA = {"rank": 2, "alpha": 4.0, "layers": ["*_blocks.*.attn.*", "*.mlp.fc1"]}
QKV = "spatial_blocks.0.attn.qkv"


def learned(steps=3, backend="numpy", **changes):
    """A trainer after some steps, with its losses."""
    made = trainer(backend, lora=LORA | changes)
    run = made.run()
    losses = [next(run).loss for _ in range(steps)]
    run.close()
    return made, losses


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_an_untrained_adapter_changes_no_bit(backend):
    base, made = make(backend), trainer(backend, lora=LORA)
    plain = state_dict(base._parts.denoiser)
    for name, weight in state_dict(made.denoiser()).items():
        assert base.ops.to_numpy(weight).tobytes() == base.ops.to_numpy(plain[name]).tobytes()
    video = {"num_frames": 5, "height": 16, "width": 16, "num_inference_steps": 2, "seed": 0}
    with_them = copy.copy(base)
    with_them._loaded = replace(base._parts, denoiser=made._adapted(ema=True))
    assert np.array_equal(latents(base, PROMPT, **video), latents(with_them, PROMPT, **video))


def test_only_adapters_learn_and_numpy_and_torch_agree():
    losses = {}
    for backend in ("numpy", "torch"):
        made, losses[backend] = learned(backend=backend)
        host = made.ops.to_numpy
        assert {name.split(".lora_")[0] for name in made.state.params} == set(adapters_of(made._learner._template))
        assert made.state.moments.mean.shape[0] == sum(host(a).size for a in made.state.params.values())
        assert all(host(adapter.B).any() for adapter in made.adapters().values())
        base, now = (state_dict(x) for x in (make(backend)._parts.denoiser, made.denoiser()))
        changed = {n for n in now if not np.array_equal(host(now[n]), host(base[n]))}
        assert changed == {f"{name}.weight" for name in made.adapters()}
    assert losses["numpy"] == pytest.approx(losses["torch"], rel=1e-5)


def test_merged_weights_compute_what_adapters_do():
    made, _ = learned()
    batch = made.batch(4)
    arrays = {n: made.ops.asarray(a) for n, a in batch.arrays.items() if n != "ids"}
    arrays["text"] = made.ops.full((len(batch.arrays["t"]), 12, 16), 0.5)
    size = {"height": float(batch.bucket.height), "width": float(batch.bucket.width)}
    beside, within = (
        training_loss(made.ops, d, arrays, **size) for d in (made._adapted(ema=False), made.denoiser(ema=False))
    )
    assert_allclose(within, beside, rtol=1e-6)


def test_adapters_are_files_that_others_read_and_models_merge(tmp_path):
    made, _ = learned()
    save_lora(tmp_path / "a.safetensors", made.ops, made.adapters())
    stored = open_safetensors(tmp_path / "a.safetensors")
    assert stored.shapes[f"transformer.{QKV}.lora_A.weight"] == (2, 16)
    assert stored.shapes[f"transformer.{QKV}.lora_B.weight"] == (48, 2)
    assert float(stored[f"transformer.{QKV}.alpha"]) == 4
    assert stored.metadata == {"format": "pt"}
    model = make("torch")
    before = model.state_dict()[f"denoiser.{QKV}.weight"]
    assert set(model.load_lora(tmp_path / "a.safetensors", scale=0.5)) == set(made.adapters())
    A, B = (stored[f"transformer.{QKV}.lora_{x}.weight"] for x in "AB")
    assert_allclose(model.state_dict()[f"denoiser.{QKV}.weight"], before + 0.5 * 2 * B @ A, rtol=1e-5, atol=1e-7)
    # once more, and half of it twice is all of it
    model.load_lora(tmp_path / "a.safetensors", scale=0.5)
    whole = trained_model(make(), made).state_dict()
    assert all(np.allclose(a, whole[name], rtol=1e-5, atol=1e-6) for name, a in model.state_dict().items())


def test_files_of_others_need_no_alpha_and_odd_ones_are_refused(tmp_path):
    path, ops = tmp_path / "b.safetensors", get_backend("numpy", device="cpu", dtype="float32")
    pair = {f"base_model.model.{QKV}.lora_A.weight": np.ones((2, 16), "float32")}
    write_safetensors(path, pair | {f"base_model.model.{QKV}.lora_B.weight": np.ones((48, 2), "float32")})
    assert read_lora(path, ops)[QKV].alpha == 2
    model = make()
    for tensors, error, words in (
        (pair, FileFormatError, "has no .lora_B.weight beside it"),
        (pair | {"weight": np.ones(3)}, FileFormatError, "holds no LoRA: .* found weight"),
        ({f"a.lora_{x}.weight": np.ones((2, 2)) for x in "AB"}, WeightsError, "adapter of 'a' has no linear map"),
        ({f"{QKV}.lora_{x}.weight": np.ones((2, 2)) for x in "AB"}, WeightsError, r"needs A \[rank, 16\] and B \[48"),
    ):
        write_safetensors(path, tensors)
        with pytest.raises(error, match=words):
            model.load_lora(path)
    assert all(np.array_equal(a, make().state_dict()[n]) for n, a in model.state_dict().items())


def test_a_run_keeps_adapters_alone_and_goes_on_to_the_bit(tmp_path):
    base, recipe = make(), tmp_path / "lora.toml"
    recipe.write_text(_recipe(base))
    whole = Run.start(tmp_path / "whole", recipe, base)
    losses = [p.loss for p in whole.steps()]
    parts = Run.start(tmp_path / "parts", recipe, base)
    steps = parts.steps()
    first = [next(steps).loss, next(steps).loss]
    steps.close()
    _, tensors = load_folder(tmp_path / "parts" / "step-00000002")
    assert all(".lora_" in name for name in tensors if name not in ("mean", "square"))
    again = Run.resume(tmp_path / "parts", base.ops)
    assert first + [p.loss for p in again.steps()] == losses
    exported = again.export(tmp_path / "adapter.safetensors")
    model = make()
    model.load_lora(exported)
    merged_model = OpenSora.from_pretrained(again.export(), backend="numpy")
    assert all(np.array_equal(a, merged_model.state_dict()[n]) for n, a in model.state_dict().items())
    with pytest.raises(InvalidInputError, match="name a folder"):
        again.export(tmp_path / "adapter.safetensors", dtype="float16")


def _recipe(base: OpenSora) -> str:
    settings = base.config.denoiser.to_dict().items()
    denoiser = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings if value is not None)
    stages = RECIPE.partition("[[stages]]")[2].replace("STEPS", "4")
    return f'[denoiser]\n{denoiser}\n[lora]\nrank = 2\nlayers = ["*.attn.*"]\n[[stages]]{stages}'


def test_recipes_say_what_is_wrong_with_their_adapters():
    for changes, words in (
        ({"lora": {"rank": 0}}, "lora: rank=0 must be a whole number of at least 1"),
        ({"lora": {"layers": ["*.atn.*"]}}, r"layers=\['\*.atn.\*'\] match nothing of the denoiser"),
        ({"lora": {"layer": []}}, r"unknown lora fields \['layer'\]"),
        ({"lora": LORA, "frozen": ["*.bias"]}, "with lora only adapters learn"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            trainer(**changes)
