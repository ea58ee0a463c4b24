"""The models of one release on disk, each brought to the backend when its turn comes and let go afterwards."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError
from ...module import rebuild
from ...ops import Ops
from ...releases.discovery import Part, find_parts
from ...releases.loading import fit_published, of_videos
from ...releases.offload import offloaded
from ...releases.release import RELEASES, Release
from ...serialization.arriving import Arriving


class ReleaseFiles:
    """Where the models of a release are; nothing of them is in memory.

    paths: files and folders that are searched; the denoiser that is found says which release it is. Of several models
    of one kind the one counts whose own path was given.
    Raises InvalidInputError where there is no denoiser, or several of one kind of model.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self.searched = ", ".join(str(path) for path in paths)
        self.parts, self._named = find_models(paths)
        denoiser = self.find("denoiser")
        if denoiser is None:
            others = ", ".join(f"{p.architecture.name} ({p.path})" for p in self.parts)
            raise InvalidInputError(f"no denoiser was found in {self.searched}, only {others}")
        self.denoiser = denoiser
        self.parts = [part for part in self.parts if part is denoiser or part.architecture.part != "denoiser"]
        self.release: Release = RELEASES[denoiser.architecture.release].of_size(denoiser.configuration)

    @property
    def denoiser_config(self) -> Any:
        """The configuration of the denoiser."""
        return self.denoiser.configuration

    @property
    def autoencoder(self) -> Part:
        """The autoencoder whose latents the denoiser makes. InvalidInputError, saying which is wanted, without one."""
        return self._needed("autoencoder", self.release.autoencoder)

    @property
    def t5(self) -> Part:
        """The text encoder T5. InvalidInputError without one."""
        return self._needed("text encoder", "T5Encoder")

    @property
    def clip(self) -> Part:
        """The text model of CLIP. InvalidInputError without one."""
        return self._needed("text encoder", "CLIPText")

    @property
    def image_denoiser(self) -> Part:
        """The image model in the layout of Flux, which makes a first frame. InvalidInputError without one."""
        return self._needed("image denoiser", "Flux", "t2i2v")

    @property
    def image_autoencoder(self) -> Part:
        """The autoencoder of that model. InvalidInputError without one."""
        return self._needed("autoencoder", "AutoencoderKL", "t2i2v")

    def _needed(self, kind: str, name: str, what: str = "") -> Part:
        part = self.find(name)
        if part is None:
            raise InvalidInputError(
                f"{what or f'Open-Sora {self.release.name}'} needs the {kind} {name}, which is not in {self.searched}: "
                f"give its file or folder beside the denoiser's{self._others(kind)}"
            )
        return part

    def _others(self, kind: str) -> str:
        """Autoencoders that were found, but are not the one that is needed."""
        found = [
            f"{p.architecture.name} of {p.architecture.release}" for p in self.parts if p.architecture.part == kind
        ]
        return f" ({', '.join(found)} will not do)" if found and kind == "autoencoder" else ""

    def find(self, kind: str) -> Part | None:
        """The model of an architecture or of a part, such as "denoiser"; InvalidInputError for several."""
        found = [part for part in self.parts if kind in (part.architecture.part, part.architecture.name)]
        if len(found) > 1:
            found = meant(found, self._named) or _usable(found)
        if len(found) > 1:
            raise InvalidInputError(
                f"{len(found)} models are {kind}: {', '.join(str(p.path) for p in found)}; name the one that is meant"
            )
        return found[0] if found else None


def find_models(paths: Sequence[str | Path]) -> tuple[list[Part], set[Path]]:
    """The models in files and folders, each once, and the files of those whose own path was given."""
    found = [(part, part.path == Path(path)) for path in paths for part in find_parts(path)]
    named = {part.file for part, own in found if own}
    return list({part.file: part for part, _ in reversed(found)}.values())[::-1], named


def meant(found: Sequence[Part], named: Container[Path]) -> list[Part]:
    """Of several models those whose own path was given."""
    return [part for part in found if part.file in named]


def _usable(found: list[Part]) -> list[Part]:
    """All but the denoiser with patches of 1 beside that of v2.0, whose latents no autoencoder here decodes."""
    return [p for p in found if getattr(p.configuration, "patch_size", None) != 1] or found


@contextmanager
def on_backend(part: Part, ops: Ops, dtype: str | None = None, offload_type: str = "none") -> Iterator[Any]:
    """The model of a part on the backend, for as long as the context lasts; see `OFFLOAD_TYPES`."""
    config, shell, weights = fit_published(part.architecture, part.checkpoint)
    if offload_type == "none":
        yield of_videos(config, rebuild(shell, Arriving(ops, weights, dtype)))
    else:
        yield offloaded(ops, shell, weights, dtype)


def without_weights(part: Part) -> Any:
    """The model of a part for what it tells without its weights, such as the shape of latents."""
    config, shell, _ = fit_published(part.architecture, part.checkpoint)
    return of_videos(config, shell)
