"""Models of the Hugging Face hub, by ORGANISATION/NAME."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InvalidInputError, MissingDependencyError

FILES = ("*.json", "*.safetensors", "*.model")  # no pickles, no code
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def local(source: str | Path) -> Path:
    """A path on this machine: the source itself, or where its files of the hub lie, downloaded if need be.

    Raises MissingDependencyError without huggingface_hub, InvalidInputError where the hub cannot be reached and nothing
    was downloaded before, or has no such model.
    """
    path = Path(source)
    if path.exists() or not _NAME.fullmatch(str(source)):
        return path
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError(
            f"{source} is not a path here; to get it from the Hugging Face hub: pip install 'opensora-core[hub]'",
            name="huggingface_hub",
        ) from error
    try:
        return Path(snapshot_download(str(source), allow_patterns=list(FILES)))
    except Exception as error:  # of the network, of the hub, or of a name
        raise InvalidInputError(
            f"{source} is not a path here, and not to be had from the Hugging Face hub: {error!s:.300}"
        ) from error
