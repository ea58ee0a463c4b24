"""compile and warmup: faster where the backend can, the same video everywhere."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch

from opensora_core.errors import InvalidInputError
from tests.pipelines.models import PROMPT, clip, distance, latents, make


@pytest.fixture
def traced(monkeypatch):
    """Let torch.compile trace, but run what it traced as it is: a compiler takes a minute."""
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager", fullgraph=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own imports
        yield


def test_a_compiled_model_makes_the_same_video(traced):
    plain, model = make("torch"), make("torch")
    assert model.compile() is model
    model.warmup([(1, 16, 16), (5, 16, 16)])
    for options in ({}, {"image": clip(1)[0]}):
        assert distance(latents(model, PROMPT, seed=0, **options), latents(plain, PROMPT, seed=0, **options)) < 1e-5


def test_a_compiled_model_takes_new_weights(traced):
    plain, model = make("torch"), make("torch").compile()
    model.warmup()
    other = {name: 1.01 * a for name, a in plain.state_dict().items()}
    for each in (plain, model):
        each.load_state_dict(other)
    assert distance(latents(model, PROMPT, seed=0), latents(plain, PROMPT, seed=0)) < 1e-5


def test_a_backend_that_compiles_nothing_says_so():
    model = make("numpy")
    with pytest.warns(RuntimeWarning, match="the backend 'numpy' compiles nothing"):
        model.compile()
    model.warmup()
    assert model.generate_from_text(PROMPT, seed=0) == make("numpy").generate_from_text(PROMPT, seed=0)
    with pytest.raises(InvalidInputError, match="num_frames=0"):
        model.warmup([(0, 16, 16)])


def test_a_compiler_that_fails_is_done_without(monkeypatch):
    def broken(fun, **options):
        def fail(*inputs):
            raise RuntimeError("no C++ compiler")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    model = make("torch").compile()
    with pytest.warns(RuntimeWarning, match="compiling failed, the model runs as it is: no C"):
        model.warmup()
    assert model.generate_from_text(PROMPT, seed=0) == make("torch").generate_from_text(PROMPT, seed=0)
