"""Models of the Hugging Face hub, by ORGANISATION/NAME or ORGANISATION/NAME/FILE."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InvalidInputError, MissingDependencyError
from .unpickling import PICKLES

FILES = ("*.json", "*.safetensors", "*.model", "*merges.txt")  # no pickles, no code
_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)((?:/[A-Za-z0-9][\w.-]*)*)")


def local(source: str | Path, *, pickles: bool = False) -> Path:
    """A path on this machine: the source itself, or where its files of the hub lie, downloaded if need be.

    Of a repository its configurations, safetensors and tokenizers; of a file or folder in it that one and all JSON.
    pickles: old ones too, where there are no safetensors.
    Raises MissingDependencyError without huggingface_hub, InvalidInputError for a file of weights that is not there,
    and where the hub cannot be reached and nothing was downloaded before, or has no such model.
    """
    path = Path(source)
    name = _NAME.fullmatch(str(source))
    if path.exists():
        return path
    if name is None:
        if path.suffix == ".safetensors":
            raise InvalidInputError(f"cannot read {path}: there is no such file")
        return path
    repository, inside = name[1], name[2].removeprefix("/")
    wanted = [inside, *(f"{inside}/{pattern}" for pattern in FILES), "*.json"] if inside else list(FILES)
    found = _downloaded(repository, wanted) / inside
    if pickles and found.is_dir() and not any(found.rglob("*.safetensors")):
        found = _downloaded(repository, [*wanted, *(f"{inside}*{ending}" for ending in PICKLES)]) / inside
    if not found.exists():
        raise InvalidInputError(
            f"{source} is not a path here, and {repository} of the Hugging Face hub has no {inside}"
        )
    return found


def _downloaded(repository: str, wanted: list[str]) -> Path:
    """Where the files of a repository lie that fit a pattern."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError(
            f"{repository} is not a path here; to get it from the Hugging Face hub: pip install 'opensora-core[hub]'",
            name="huggingface_hub",
        ) from error
    try:
        return Path(snapshot_download(repository, allow_patterns=wanted))
    except Exception as error:  # of the network, of the hub, or of a name
        raise InvalidInputError(
            f"{repository} is not a path here, and not to be had from the Hugging Face hub: {error!s:.300}"
        ) from error
