"""The video of latents that a generation kept in a file, made later or on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FileFormatError, InvalidInputError, memory_as_limit
from ...media.video import Video
from ...ops import Ops
from ...releases.discovery import Part
from ...releases.hub import local
from ...releases.release import RELEASES
from ...serialization.jsonfile import decode_object
from ...serialization.reader import SafetensorsFile, open_safetensors
from ...vae.pixels import to_frames
from ..pretrained import backend_of
from .coding import decode
from .components import find_models, meant, on_backend
from .kept import PICTURE, RECORD, SHOWN


def decode_latents(
    file: str | Path,
    *paths: str | Path,
    backend: str | Ops = "auto",
    device: str | None = None,
    dtype: str | None = None,
) -> Video:
    """The video that a generation would have made of the latents that it kept in a file, with the same metadata.

    file: its latents_file, or the one that its error names. Of a generation that ended early it holds the first clips.
    paths: where the autoencoder is; other models beside it are not read. backend, device, dtype: see `get_backend`.
    Raises InvalidInputError where no such autoencoder is found, FileFormatError for a file that no generation wrote.
    """
    latents = open_safetensors(file)
    record = _record(latents)
    release = RELEASES.get(str(record.get("release")))
    if release is None:
        raise FileFormatError(f"{file}: release {record.get('release')!r} is not one of {', '.join(RELEASES)}")
    part = _autoencoder(release.autoencoder, paths)
    ops = backend_of(backend, device, dtype)
    with memory_as_limit("decoding"), on_backend(part, ops, ops.wide_dtype) as vae:
        return _video(ops, vae, latents, record)


def _video(ops: Ops, vae: Any, latents: SafetensorsFile, record: dict[str, Any]) -> Video:
    """All clips in the file, one after another, without the frames that a clip has from the one before."""
    pieces = [latents[SHOWN]] if SHOWN in latents else []
    try:
        clips = [(f"clip{i}", int(length), int(given)) for i, (length, given) in enumerate(record["clips"])]
        num_frames, fps, settings = int(record["num_frames"]), float(record["fps"]), dict(record["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{latents.source}: what it says of its video is incomplete ({error})") from error
    if "clip0" not in latents and PICTURE in latents:
        raise InvalidInputError(
            f"{latents.source} holds only the picture that t2i2v makes first: its generation ended before a clip was "
            "finished, so there is no video to decode; generate again"
        )
    if "clip0" not in latents:
        raise InvalidInputError(f"{latents.source} holds no clip, as its generation ended before the first one")
    for name, length, given in clips:
        if name in latents:
            pieces.append(to_frames(decode(ops, vae, latents[name], length))[0][given:])
    return Video(np.concatenate(pieces)[:num_frames], fps, settings)


def _record(latents: SafetensorsFile) -> dict[str, Any]:
    if RECORD not in latents.metadata:
        raise FileFormatError(f"{latents.source} does not say of which video its latents are: no generation wrote it")
    return decode_object(latents.metadata[RECORD].encode(), f"{latents.source}: {RECORD}")


def _autoencoder(name: str, paths: tuple[str | Path, ...]) -> Part:
    """The one autoencoder of this architecture in the paths, each searched; of several the one whose path was given."""
    models, named = find_models([local(path) for path in paths])
    found = [part for part in models if part.architecture.name == name]
    found = meant(found, named) or found
    if len(found) != 1:
        places = ", ".join(str(part.path) for part in found) or "nowhere"
        searched = ", ".join(map(str, paths)) or "nothing"
        raise InvalidInputError(
            f"these latents need the autoencoder {name}, found {places} in {searched}: give the path of one"
        )
    return found[0]
