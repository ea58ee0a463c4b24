"""Whether the models of a release are whole and fit together, told by names and shapes before anything is computed."""

from __future__ import annotations

from typing import Any

from ...errors import InvalidInputError
from ...releases.discovery import Part
from ...releases.release import CELL
from .components import ReleaseFiles, without_weights

SIDE = 2 * CELL  # of a video small enough to ask for the channels of its latents


def check_fit(files: ReleaseFiles, *, reads_prompts: bool, paints: bool) -> None:
    """Refuse models that lack weights or do not go together, of those that a generation will use.

    reads_prompts: whether text encoders are needed. paints: whether an image model makes the first frame.
    Raises WeightsError for weights that lack, exceed or mismatch what their model needs, InvalidInputError for models
    that are missing, and for those of another width.
    """
    _check_latents(files.denoiser, files.autoencoder)
    if paints:
        _check_latents(files.image_denoiser, files.image_autoencoder)
    if not reads_prompts:
        return
    for denoiser in (files.denoiser, files.image_denoiser) if paints else (files.denoiser,):
        _check_texts(files, denoiser)


def check_denoiser(denoiser: Part) -> None:
    """Refuse a denoiser that lacks weights, or that asks for text in another form than text encoders give it."""
    without_weights(denoiser)
    if getattr(denoiser.configuration, "skip_y_embedder", False):
        raise InvalidInputError(
            f"{denoiser.path}: skip_y_embedder in its config.json asks for text that was embedded before, which is not "
            "what text encoders make: set it to false"
        )


def _check_latents(denoiser: Part, autoencoder: Part) -> None:
    """The denoiser must have as many channels as the latents, or as a patch of them."""
    check_denoiser(denoiser)
    wanted = denoiser.configuration.in_channels
    channels, *_ = without_weights(autoencoder).latent_shape(1, SIDE, SIDE)
    patch = denoiser.configuration.patch_size
    packed = channels * patch**2 if isinstance(patch, int) else channels
    if wanted != packed:
        raise InvalidInputError(
            f"{denoiser.path} reads {wanted} channels; the autoencoder {autoencoder.path} makes {packed}: give the "
            "autoencoder that belongs to it"
        )


def _check_texts(files: ReleaseFiles, denoiser: Part) -> None:
    config, release = denoiser.configuration, files.release
    _check_width(denoiser, files.t5, "d_model", release.text_width(config))
    if release.pooled:
        _check_width(denoiser, files.clip, "hidden_size", config.vec_in_dim)


def _check_width(denoiser: Part, encoder: Part, name: str, wanted: int) -> None:
    without_weights(encoder)
    width: Any = getattr(encoder.configuration, name)
    if width != wanted:
        raise InvalidInputError(
            f"{denoiser.path} reads text features {wanted} wide; {encoder.path} ({encoder.architecture.name}) makes "
            f"them {width} wide: give the text encoder that belongs to it"
        )
