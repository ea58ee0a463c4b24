"""Every option names itself, its value and what is legal; memory is refused before it is taken; NaN is found."""

from __future__ import annotations

import tracemalloc
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest

from opensora_core.dit.stdit3 import STDiT3
from opensora_core.errors import InvalidInputError, LimitError, NonFiniteError
from opensora_core.module import static
from opensora_core.pipelines import opensora
from opensora_core.pipelines.config import OpenSoraConfig
from opensora_core.pipelines.finite import FiniteCheck
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.pipelines.request import Request, available_bytes, check_memory, peak_bytes
from opensora_core.text.encoder import TextEncoderConfig
from opensora_core.vae.block_codec import BlockCodecConfig
from tests.pipelines.models import NANO, PROMPT, distance, latents, make

WRONG = [
    *[("num_frames", value, "a whole number from 1 to 100000") for value in (0, -1, 100_001, 2.0, "5", True)],
    *[("height", value, "a whole number from 1 to 8192") for value in (0, 8193, 16.5)],
    *[("width", value, "a whole number from 1 to 8192") for value in (-16, 10**30, [16])],
    *[("num_inference_steps", value, "a whole number from 1 to 10000") for value in (0, 10_001)],
    *[("seed", value, "a whole number from 0 to 18446744073709551615") for value in (-1, 2**64, 0.5, "0")],
    *[("fps", value, "a number from 0.01 to 1000") for value in (0, -8, float("nan"), float("inf"), "8", 10**400)],
    *[("guidance_scale", value, "a number from 0 to 1000") for value in (-0.1, 1e9, float("nan"), None.__class__)],
]


@pytest.mark.parametrize(("name", "value", "legal"), WRONG)
def test_an_option_out_of_range_names_itself_its_value_and_what_is_legal(name, value, legal):
    with pytest.raises(InvalidInputError) as error:
        make().generate_from_text(PROMPT, **{name: value})
    assert str(error.value) == f"{name}={value!r} must be {legal}"


def test_options_may_be_numbers_of_numpy():
    options = {"num_frames": np.int64(2), "height": np.uint8(8), "fps": np.float32(4), "guidance_scale": np.float64(2)}
    video = make().generate_from_text(PROMPT, seed=np.uint64(2**64 - 1), **options)
    assert video.shape == (2, 8, 16, 3)
    assert video.metadata["seed"] == 2**64 - 1


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInputError, match=r"unknown options \['frames', 'steps'\]; known: num_frames, height"):
        make().generate_from_text(PROMPT, steps=3, frames=4)


@pytest.mark.parametrize("value", ["Raise", None, True])
def test_check_finite_is_one_of_three(value):
    with pytest.raises(InvalidInputError, match="is not one of raise, warn, off"):
        make().generate_from_text(PROMPT, check_finite=value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timestep": -1}, "timestep=-1 must be a number from 0 to 1000"),
        ({"timestep": 1001}, "timestep=1001 must be"),
        ({"fps": 0}, "fps=0 must be a number from 0.01 to 1000"),
        ({"latents": np.zeros((1, 5, 2, 2, 2))}, r"shape \(1, 5, 2, 2, 2\) must be \[B, 4, T, h, w\]"),
        ({"latents": np.zeros((4, 2, 2, 2))}, "must be"),
        ({"latents": np.zeros((0, 4, 2, 2, 2))}, "must be"),
    ],
)
def test_a_prediction_checks_what_it_is_given(options, words):
    with pytest.raises(InvalidInputError, match=words):
        make().predict(**{"latents": np.zeros((1, 4, 2, 2, 2)), "timestep": 500, "prompt": PROMPT, **options})


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
def test_a_prediction_is_what_the_sampler_follows(prediction):
    model = make(prediction=prediction, guidance_scale=1.0)
    first, second, _ = model.stream(PROMPT, seed=0)
    z = model.ops.to_numpy(first.latents)
    velocity = model.predict(z, timestep=first.timestep - 500, prompt=PROMPT)
    np.testing.assert_allclose(z + 0.5 * velocity, second.latents, rtol=1e-5, atol=1e-5)
    faster = model.predict(z, timestep=500, prompt=PROMPT, fps=30)
    assert np.abs(faster - velocity).max() > 1e-4


def test_a_prediction_in_half_precision_takes_the_latents_as_they_are():
    z = np.random.default_rng(0).normal(size=(2, 4, 2, 2, 2)).astype("float32")
    velocity = make("torch", "bfloat16").predict(z, timestep=999, prompt=PROMPT)
    assert velocity.dtype == np.float32
    assert distance(velocity, make().predict(z, timestep=999, prompt=PROMPT)) < 32 * 2**-8


# ---------------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "dit"}, "architecture='dit' is not one of stdit3"),
        ({"prediction": "noise"}, "prediction='noise' is not one of velocity, sample"),
        ({"num_layers": 0}, "num_layers=0 must be a whole number from 1 to 1000"),
        ({"num_layers": 10**9}, "num_layers=1000000000 must be"),
        ({"num_frames": "16"}, "num_frames='16' must be a whole number"),
        ({"fps": "8"}, "fps='8' must be a number from 0.01 to 1000"),
        ({"guidance_scale": -1}, "guidance_scale=-1 must be a number from 0 to 1000"),
        (
            {"guidance_interval": 500},
            "guidance_interval=500 must be two numbers from 0 to 1000",
        ),
        ({"guidance_interval": None}, "guidance_interval=None must be two numbers"),
        ({"still_levels": (0, 256)}, "still_levels=256 must be a number from 0 to 255"),
        ({"guidance_interval": (0, 1001)}, "guidance_interval=1001 must be a number from 0 to 1000"),
        ({"guidance_interval": (900, 100)}, r"guidance_interval=\(900, 100\) must not end before it begins"),
        ({"timestep_shift": 0}, "timestep_shift=0 must be a number from 0.001 to 1000"),
        ({"hidden_dim": 18}, "hidden_size=18 must be a multiple of 4"),
        ({"patch_size": 2}, "patch_size=2 must be a list"),
        ({"vocabulary": "abc"}, "vocabulary='abc' must be a list"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(changes, words):
    with pytest.raises(InvalidInputError, match=words):
        replace(NANO, **changes)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "model config is a list; expected a table"),
        ({"hiden_dim": 4}, r"unknown model config fields \['hiden_dim'\]; known: \['architecture'"),
        ({"codec": 48}, "block codec is a int; expected a table of latent_channels"),
        ({"codec": {"block": 8}}, r"block=8 must be \(frames, rows, columns\)"),
        ({"codec": {"latent_channels": "x"}}, "latent_channels='x' must be a whole number"),
        ({"text": None}, "text encoder is a NoneType"),
        ({"text": {}}, "lacks vocabulary"),
        ({"text": {"vocabulary": 5, "width": 1}}, r"unknown text encoder fields \['width'\]"),
    ],
)
def test_a_damaged_configuration_is_refused_by_name(values, words):
    with pytest.raises(InvalidInputError, match=words):
        OpenSoraConfig.from_dict(values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_length": 0}, "max_length=0 must be"),
        ({"hidden_size": 130}, "hidden_size=130 must be a multiple of num_heads=4"),
        ({"depth": -1}, "depth=-1 must be"),
        ({"num_heads": 0}, "num_heads=0 must be"),
    ],
)
def test_a_text_encoder_that_cannot_be_is_refused(changes, words):
    with pytest.raises(InvalidInputError, match=words):
        TextEncoderConfig(10, **changes)


@pytest.mark.parametrize("name", ["xl-2", "embedded", "nano"])
def test_a_preset_survives_json(name):
    config = OpenSoraConfig.preset(name)
    assert OpenSoraConfig.from_dict(config.to_dict()) == config
    changed = OpenSoraConfig.preset(name, fps=2.0, codec=BlockCodecConfig(5))
    assert (changed.fps, changed.codec.latent_channels) == (2.0, 5)


def test_the_defaults_are_the_published_ones_and_an_unknown_preset_is_refused():
    config = OpenSoraConfig()
    assert (config.architecture, config.num_frames, config.hidden_dim, config.num_layers) == ("stdit3", 16, 1152, 28)
    assert (config.num_inference_steps, config.guidance_scale) == (50, 7.5)
    with pytest.raises(InvalidInputError, match="preset 'giant' is not one of xl-2, embedded, nano"):
        OpenSoraConfig.preset("giant")


# ---------------------------------------------------------------------- memory


def test_what_cannot_fit_is_refused_before_anything_is_made(monkeypatch):
    model = make()
    monkeypatch.setattr(opensora, "available_bytes", lambda: 2**20)
    monkeypatch.setattr(opensora, "run", None)  # would fail, if it came to that
    with pytest.raises(LimitError, match=r"5 frames of 1024x512 need about 0\.\d GiB, but 0.0 GiB are available; ask"):
        model.generate_from_text(PROMPT, height=512, width=1024)


def test_where_memory_cannot_be_told_nothing_is_refused():
    request = Request.create(NANO, num_frames=100_000, height=8192, width=8192)
    check_memory(peak_bytes(NANO, request, 1, "float32"), request, None)
    with pytest.raises(LimitError):
        check_memory(peak_bytes(NANO, request, 1, "float32"), request, 10**12)
    assert available_bytes() is None or available_bytes() > 2**20


@pytest.mark.parametrize(
    ("num_frames", "height", "width"), [(1, 192, 160), (5, 96, 96), (9, 64, 64), (40, 32, 32), (17, 16, 16)]
)
def test_the_memory_a_request_needs_is_foreseen_within_an_order_of_magnitude(num_frames, height, width):
    model = make(num_frames=9)
    size = {"num_frames": num_frames, "height": height, "width": width, "num_inference_steps": 1}
    foreseen = peak_bytes(model.config, Request.create(model.config, **size), 1, "float32")
    tracemalloc.start()
    try:
        model.generate_from_text(PROMPT, seed=0, **size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= foreseen <= 10 * peak


# ---------------------------------------------------------------------- NaN


@dataclass(frozen=True)
class Poisoned:
    """A denoiser that puts out NaN from some timestep on."""

    denoiser: STDiT3
    below: float = static()

    def __getattr__(self, name):
        return getattr(self.denoiser, name)

    def denoise(self, ops, z, t, *args):
        output = self.denoiser.denoise(ops, z, t, *args)
        return output * np.nan if float(t[0]) < self.below else output


def poisoned(backend="numpy"):
    model = make(backend, num_inference_steps=4)
    model._loaded = replace(model._parts, denoiser=Poisoned(model._parts.denoiser, below=600))
    return model


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_nan_is_found_in_the_step_where_it_appears(backend):
    with pytest.raises(
        NonFiniteError, match=r"of step 3 \(timestep 500\.0\) hold NaN or Inf; all weights .* are finite"
    ):
        poisoned(backend).generate_from_text(PROMPT, seed=0)


def test_nan_may_be_warned_about_once_or_be_passed_over():
    with pytest.warns(RuntimeWarning, match="latents of step 3") as warned:
        video = poisoned().generate_from_text(PROMPT, seed=0, check_finite="warn")
    assert len(warned) == 1
    assert not video.frames.any()  # black, not whatever a machine makes of NaN
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert poisoned().generate_from_text(PROMPT, seed=0, check_finite="off") == video


def test_a_nan_weight_shows_at_the_first_step():
    model = make()
    weight = np.array(model.state_dict()["denoiser.final_layer.linear.bias"])
    weight[0] = np.nan
    model.load_state_dict({"denoiser.final_layer.linear.bias": weight}, strict=False)
    named = r"step 1 .*so does the weight denoiser\.final_layer\.linear\.bias"
    with pytest.raises(NonFiniteError, match=named):
        latents(model, PROMPT)


# ---------------------------------------------------------------------- backends


def test_an_unknown_backend_dtype_or_device_is_refused():
    with pytest.raises(InvalidInputError, match="no backend 'jax'; known:"):
        OpenSora(NANO, backend="jax")
    with pytest.raises(InvalidInputError, match="backend=3 must be a name"):
        OpenSora(NANO, backend=3)
    with pytest.raises(InvalidInputError, match="dtype 'int8' is not one of"):
        OpenSora(NANO, dtype="int8")
    with pytest.raises(InvalidInputError, match="not 'cuda'"):
        OpenSora(NANO, backend="numpy", device="cuda")


def test_a_backend_may_be_an_instance():
    ops = make("torch", "float64").ops
    model = OpenSora(NANO, backend=ops)
    assert model.ops is ops
    assert model.metadata["dtype"] == "float64"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 9 TiB")])
def test_an_operator_that_finds_no_memory_is_a_limit_of_the_generation(monkeypatch, error):
    model = make("numpy")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(STDiT3, "denoise", fail)
    with pytest.raises(LimitError, match=r"the generation does not fit into memory \((CUDA|MemoryError).*smaller size"):
        model.generate_from_text(PROMPT)


def test_an_array_is_not_brought_to_the_host_where_nothing_looks_at_it():
    def bring():
        raise AssertionError("brought")

    FiniteCheck("off")(bring, lambda: "never said")
