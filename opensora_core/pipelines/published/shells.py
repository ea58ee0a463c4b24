"""Models without weights: of the files where they have them, else of the published sizes."""

from __future__ import annotations

from typing import Any

from ...dit.mmdit_config import MMDiTConfig
from ...nn.init import ShapeInit
from ...releases.architectures import ARCHITECTURES, Architecture
from ...releases.autoencoder_shapes import FLUX
from ...releases.loading import fit_published
from ...releases.release import Release
from ...vae.image import AutoencoderKLConfig
from .components import ReleaseFiles

Shell = tuple[Any, Any]  # configuration and weightless model
IMAGE_MODELS: dict[str, Any] = {
    "Flux": MMDiTConfig.flux(),
    "AutoencoderKL": AutoencoderKLConfig(latent_channels=16, **FLUX),
}
"""Published configurations of the models that make the picture of t2i2v."""


def shell_of(files: ReleaseFiles | None, release: Release, kind: str) -> Shell:
    """The model of an architecture, or of a part such as "denoiser", of a release."""
    architecture = next(a for a in ARCHITECTURES if kind == a.name or (a.part, a.release) == (kind, release.name))
    return _shell(files, kind, architecture, architecture.config())


def image_shell(files: ReleaseFiles | None, name: str) -> Shell:
    """One of `IMAGE_MODELS`."""
    architecture = next(a for a in ARCHITECTURES if name == a.name)
    return _shell(files, name, architecture, IMAGE_MODELS[name])


def _shell(files: ReleaseFiles | None, kind: str, architecture: Architecture, config: Any) -> Shell:
    part = files.find(kind) if files else None
    if part is not None:
        return fit_published(part.architecture, part.checkpoint)[:2]
    return config, architecture.create(config, ShapeInit())
