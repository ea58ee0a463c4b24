import importlib.util
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

from opensora_core.module import state_dict
from opensora_core.pipelines.config import OpenSoraConfig
from opensora_core.pipelines.opensora import OpenSora
from opensora_core.testing.conformance.pytest_api import MUST_RUN, must_run, require
from opensora_core.training.codec_clips import clips
from opensora_core.vae.block_pca import fit

FRAMEWORKS = (  # what is fine to be without
    *("torch", "numba", "numba_cuda", "greenlet"),
    *("cupy", "jax", "array_api_strict", "matplotlib", "pyarrow", "tensorboardX"),
    *("transformers", "tokenizers", "sentencepiece", "ftfy"),
)

settings.register_profile(
    "ci", max_examples=20, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=100, derandomize=False)
settings.load_profile("ci")


def pytest_configure(config):
    missing = [name for name in must_run() if importlib.util.find_spec(name) is None]
    if missing:  # where it is not on the list, a missing framework skips its tests, visibly
        raise pytest.UsageError(f"{MUST_RUN} lists {', '.join(missing)}: pip install -r requirements-dev.txt")


@contextmanager
def required():
    """Skip, or fail where it must run, what cannot import a framework."""
    try:
        yield
    except (ImportError, pytest.Module.CollectError) as error:
        cause = error if isinstance(error, ImportError) else error.__cause__
        framework = str(getattr(cause, "name", "")).partition(".")[0]
        if framework in FRAMEWORKS:
            require(framework)
        raise


class Tests(pytest.Module):
    """A file of tests, which may import a framework."""

    def collect(self):
        with required():
            return super().collect()


def pytest_pycollect_makemodule(module_path, parent):
    return Tests.from_parent(parent, path=module_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with required():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with required():
        return (yield)


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a model with a fitted autoencoder and a random denoiser, 5 frames of 16x16."""
    folder = tmp_path_factory.mktemp("models") / "nano"
    model = OpenSora(OpenSoraConfig.preset("nano"), backend="numpy")
    codec = fit(model.ops, clips(seed=0, count=12), model.config.codec)
    model.load_state_dict({f"codec.{name}": a for name, a in state_dict(codec).items()}, strict=False)
    return str(model.save(folder))
