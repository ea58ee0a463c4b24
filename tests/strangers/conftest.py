import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from opensora_core import OpenSora

FOLDER = Path(__file__).parent


def last_latents(backend):
    model = OpenSora.from_pretrained(backend=backend, dtype="float32")
    *_, last, _ = model.stream("a red circle moves right on a blue background", seed=0)
    return np.asarray(model.ops.to_numpy(last.latents), np.float64)


@pytest.fixture(scope="session")
def distance_to_numpy():
    """Relative L2 distance of a backend's latents to NumPy's, after all steps of the embedded model."""
    expected = last_latents("numpy")
    return lambda backend: np.linalg.norm(last_latents(backend) - expected) / np.linalg.norm(expected)


@pytest.fixture
def run_installed(tmp_path):
    """Install a package of this folder elsewhere, and run Python there; returns what it prints."""

    def run(package, code):
        copy, site = shutil.copytree(FOLDER / package, tmp_path / package), tmp_path / "site"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
        pip += ["--no-deps", "--no-build-isolation", "--target", str(site), str(copy)]
        subprocess.run(pip, check=True, timeout=120)
        code = f"import sys; sys.path[:] = {[str(site), *sys.path]}; {code}"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            cwd=site,
        )
        return done.stdout

    return run
