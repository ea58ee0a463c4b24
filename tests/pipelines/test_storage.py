"""Models as folders, bytes, copies and state dicts: the same bits on every backend."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from opensora_core import get_backend
from opensora_core.errors import FileFormatError, InvalidInputError, WeightsError
from opensora_core.module import named_leaves
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.serialization.folder import load_folder, save_folder
from tests.pipelines.models import NANO, PROMPT, latents, make

DTYPES = ("float32", "float64", "bfloat16", "float16")


def same(a, b):
    """Whether two state dicts are equal to the bit."""
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and a[n].tobytes() == b[n].tobytes() for n in a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_goes_through_files_and_backends_without_losing_a_bit(tmp_path, dtype):
    ours = make("numpy", dtype)
    folder = ours.save(tmp_path / "model")
    theirs = OpenSora.from_pretrained(folder, backend="torch", device="cpu", dtype=dtype)
    assert theirs.config == ours.config == OpenSora.read_config(folder)
    assert same(theirs.state_dict(), ours.state_dict())
    back = OpenSora.from_bytes(theirs.to_bytes(), backend="numpy", dtype=dtype)
    assert same(back.state_dict(), ours.state_dict())
    assert np.array_equal(latents(back, PROMPT, seed=0), latents(ours, PROMPT, seed=0))


def test_the_autoencoder_keeps_its_precision_in_a_model_of_half():
    state = make("numpy", "bfloat16").state_dict()
    assert {n.split(".")[0]: str(a.dtype) for n, a in state.items()} == {
        "text_encoder": "bfloat16", "denoiser": "bfloat16", "codec": "float32",
    }  # fmt: skip


def test_the_same_model_is_the_same_bytes(tmp_path):
    first, again = (make(backend) for backend in ("numpy", "torch"))
    assert first.to_bytes() == again.to_bytes()
    for name, model in (("a", first), ("b", again)):
        model.save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert first.to_bytes(dtype="float16") != first.to_bytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_may_be_stored_in_another_precision(tmp_path, dtype):
    model = make()
    folder = model.save(tmp_path / "model", dtype=dtype)
    assert {str(a.dtype) for a in load_folder(folder)[1].values()} == {dtype}
    loaded = OpenSora.from_pretrained(str(folder), backend="torch", dtype="float32")
    assert loaded.to_bytes(dtype=dtype) == model.to_bytes(dtype=dtype)
    for name, array in loaded.state_dict().items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, model.state_dict()[name], rtol=0.01, atol=1e-6)


def test_weights_are_stored_as_floating_numbers_only_and_whatever_the_environment_says(tmp_path, monkeypatch):
    with pytest.raises(InvalidInputError, match="dtype='int8' is not one of float64, float32"):
        make().save(tmp_path / "model", dtype="int8")
    assert not (tmp_path / "model").exists()
    model = make()
    monkeypatch.setenv("OPENSORA_DEVICE", "cuda:0")
    assert model.to_bytes(dtype="float16")


def test_a_folder_is_replaced_whole_and_a_stranger_is_left_alone(tmp_path):
    folder = make().save(tmp_path / "model")
    make(fps=3.0).save(folder)
    assert OpenSora.read_config(folder).fps == 3.0
    stranger = tmp_path / "mine"
    stranger.mkdir()
    (stranger / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="may hold files of yours"):
        make().save(stranger)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


# ---------------------------------------------------------------------- what does not fit


def load(folder):
    return OpenSora.from_pretrained(folder, backend="numpy")


def test_where_there_is_nothing_to_load_is_said(tmp_path):
    with pytest.raises(InvalidInputError, match="is not a folder"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "manifest.json"])
def test_a_folder_that_lacks_a_file_is_refused(tmp_path, name):
    folder = make().save(tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(FileFormatError, match=name.split(".")[0]):
        load(folder)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-9] + b"\xff" + b[-8:], lambda b: b""])
def test_a_damaged_folder_is_refused(tmp_path, damage):
    folder = make().save(tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileFormatError, match=r"model\.safetensors"):
        load(folder)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_damaged_bytes_are_refused(length):
    with pytest.raises(FileFormatError, match="the serialized model"):
        OpenSora.from_bytes(make().to_bytes()[:length], backend="numpy")


def rewrite(folder: Path, **changes) -> Path:
    """A folder of the same weights under another config.json, with a manifest that fits."""
    config, tensors = load_folder(folder)
    tensors = {name: np.array(a) for name, a in tensors.items()}
    save_folder(folder, {**config, **changes}, tensors)
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "diffusers"}, r"format and version \('diffusers', 1\), expected \('opensora-core', 1\)"),
        ({"version": 2}, "of a newer library"),
        ({"config": []}, "model config is a list"),
        ({"config": {"depth": 3}}, "unknown model config fields"),
        ({"config": {"num_layers": 1.5}}, "num_layers=1.5 must be"),
    ],
)
def test_a_config_of_another_kind_is_refused(tmp_path, changes, words):
    folder = rewrite(make().save(tmp_path / "model"), **changes)
    for read in (load, OpenSora.read_config):
        with pytest.raises(InvalidInputError, match=words):
            read(folder)


def test_weights_that_do_not_fit_the_config_are_listed(tmp_path):
    config = json.loads((make().save(tmp_path / "model") / "config.json").read_text())["config"]
    folder = rewrite(tmp_path / "model", config={**config, "num_layers": 2})
    with pytest.raises(WeightsError, match=r"missing:\n    'denoiser\.spatial_blocks\.1"):
        load(folder)


# ---------------------------------------------------------------------- state dicts


def test_a_state_dict_is_taken_by_name():
    model, other = make(), OpenSora(NANO, backend="torch", seed=5)
    assert not same(model.state_dict(), other.state_dict())
    difference = other.load_state_dict(model.state_dict())
    assert (difference.missing, difference.unexpected) == ((), ())
    assert same(model.state_dict(), other.state_dict())


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_state_dict_is_nobodys_way_into_a_model(backend):
    model = make(backend)
    before = model.to_bytes()
    state = model.state_dict()
    with pytest.raises(ValueError, match="read-only"):
        state["codec.mean"][0] = 1
    own = {name: np.array(a) for name, a in state.items()}
    model.load_state_dict(own)
    for array in own.values():
        array[...] = 0
    assert model.to_bytes() == before


def test_missing_unexpected_and_misshapen_weights_are_listed():
    model = make()
    before = model.to_bytes()
    state = dict(model.state_dict())
    state["denoiser.bias"] = state.pop("denoiser.x_embedder.proj.bias")
    with pytest.raises(WeightsError, match=r"1 missing:\n    'denoiser.x_embedder.proj.bias' \[16\].*\n  1 unexpected"):
        model.load_state_dict(state)
    difference = model.load_state_dict(state, strict=False)
    assert difference.missing == ("denoiser.x_embedder.proj.bias",)
    assert difference.unexpected == ("denoiser.bias",)
    for strict in (True, False):
        with pytest.raises(WeightsError, match=r"'codec.mean' is \[3\], expected \[768\]"):
            model.load_state_dict({**model.state_dict(), "codec.mean": np.zeros(3)}, strict=strict)
    assert model.to_bytes() == before


def test_a_partial_state_keeps_the_rest_and_takes_the_models_dtype():
    model = make("torch", "float16")
    before = model.state_dict()
    model.load_state_dict({"codec.mean": np.full(768, 0.25)}, strict=False)
    after = model.state_dict()
    assert after["codec.mean"].dtype == np.float32
    assert (after.pop("codec.mean") == 0.25).all()
    assert same(after, {name: a for name, a in before.items() if name != "codec.mean"})


# ---------------------------------------------------------------------- copies, metadata, closing


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_copy_shares_weights_and_a_deep_copy_owns_them(backend):
    model = make(backend)
    shared, own = copy.copy(model), copy.deepcopy(model)
    leaves, of_shared, of_own = (dict(named_leaves(m._parts)) for m in (model, shared, own))
    assert all(of_shared[name] is leaf for name, leaf in leaves.items())
    to_numpy = model.ops.to_numpy
    assert not any(np.shares_memory(to_numpy(of_own[name]), to_numpy(leaf)) for name, leaf in leaves.items())
    assert own.to_bytes() == model.to_bytes()
    before = model.to_bytes()
    z = np.random.default_rng(0).normal(size=(1, 4, 2, 2, 2)).astype("float32")
    losses = [m.train_step(z, [PROMPT], seed=0, learning_rate=0.1) for m in (shared, own)]
    assert losses[0] == losses[1]
    assert model.to_bytes() == before
    assert shared.to_bytes() == own.to_bytes() != before


def test_metadata_says_what_the_model_is_without_touching_a_weight(monkeypatch):
    model = make("torch", "bfloat16")
    monkeypatch.setattr(model.ops, "to_numpy", None, raising=False)
    metadata = model.metadata
    assert metadata["config"] == NANO.to_dict()
    assert sum(metadata.pop("parameters").values()) == model.num_parameters > 10_000
    assert {k: v for k, v in metadata.items() if k != "config"} == {
        "architecture": "stdit3", "dtype": "bfloat16", "backend": "torch", "device": "cpu",
    }  # fmt: skip
    json.dumps(metadata)


def test_a_closed_model_says_so():
    with make() as model:
        assert model.num_parameters
    model.close()
    for use in (lambda: model.generate_from_text(PROMPT), model.state_dict, lambda: model.config, model.to_bytes):
        with pytest.raises(InvalidInputError, match="this model was closed; load it again"):
            use()


def test_an_error_inside_a_with_block_comes_out():
    model = make()
    with pytest.raises(ZeroDivisionError), model:
        1 / 0  # noqa: B018
    with pytest.raises(InvalidInputError, match="closed"):
        copy.copy(model)


def test_a_backend_that_is_given_is_not_asked_for_another_device_or_dtype():
    ops = get_backend("numpy", device="cpu", dtype="float64")
    assert make_on(ops, dtype="float64").ops is ops
    with pytest.raises(InvalidInputError, match="dtype='float32' was asked for, but the backend given"):
        make_on(ops, dtype="float32")
    with pytest.raises(InvalidInputError, match="device='cuda:0' was asked for"):
        make_on(ops, device="cuda:0")


def make_on(ops, **asked):
    return OpenSora(NANO, backend=ops, **asked)
