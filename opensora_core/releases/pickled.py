"""Published weights to be read once, those in old pickles too: a file, or a folder as it was before safetensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FileFormatError, InvalidInputError
from ..serialization.jsonfile import read_object
from ..serialization.reader import open_safetensors
from ..serialization.shards import INDEX_BYTES
from ..serialization.single import CONFIG_BYTES
from .checkpoint import Checkpoint, models_in, open_checkpoint, plain_names
from .unpickling import PICKLES, unpickled


@contextmanager
def opened(source: str | Path) -> Iterator[Checkpoint]:
    """`open_checkpoint`, and of old pickles what limited processes of their own have read, while the context lasts.

    What they read lies in the system's folder for temporary files (`TMPDIR`) meanwhile, as large as the pickles.
    """
    path = Path(source)
    pickles = [path] if path.suffix in PICKLES else pickles_in(path)
    if not pickles:
        yield open_checkpoint(path)
        return
    with unpickled(pickles) as files:
        tensors = {name: array for file in files for name, array in open_safetensors(file).items()}
        config = pickles[0].with_name("config.json")
        belongs = config.exists() and pickles_in(config.parent, several=True) == pickles
        yield Checkpoint(str(path), plain_names(tensors), read_object(config, CONFIG_BYTES) if belongs else {})


def pickles_in(folder: Path, *, several: bool = False) -> list[Path]:
    """The pickle of a folder without safetensors, or its shards by their index; none where it has safetensors.

    Raises InvalidInputError for several without an index unless all may be meant, FileFormatError where a shard lacks.
    """
    if not folder.is_dir() or models_in(folder):
        return []
    found = sorted(file for file in folder.iterdir() if file.suffix in PICKLES)
    for index in sorted(folder.glob("*.index.json")):
        named = read_object(index, INDEX_BYTES).get("weight_map")
        shards = sorted({str(file) for file in named.values()}) if isinstance(named, dict) else []
        if missing := [shard for shard in shards if folder / shard not in found]:
            raise FileFormatError(f"{folder} lacks the shard {missing[0]} of {index.name}; was the download cut short?")
        return [folder / shard for shard in shards]
    if len(found) > 1 and not several:
        names = ", ".join(file.name for file in found)
        raise InvalidInputError(f"{folder} holds the pickles {names} and no index of them: name the one that is meant")
    return found
