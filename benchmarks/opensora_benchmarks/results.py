"""Files of results: rows are appended while a run goes on, and the whole is one JSON document at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensora_core.errors import FileFormatError, InvalidInputError
from opensora_core.serialization.atomic import atomic_file

from .results_check import check_document

SCHEMA = "opensora-bench/1"
Document = dict[str, Any]


class Journal:
    """Rows of a run that is going on, in a file FILE.partial of JSON lines; `finish` makes FILE of it."""

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.path, self.partial = path, path.with_name(path.name + ".partial")
        self.document: Document = {"schema": SCHEMA, **head, "results": []}
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise InvalidInputError(f"cannot write {path}: it must be a file in a folder that exists")
        self.partial.write_text(json.dumps({"schema": SCHEMA, **head}) + "\n", "utf-8")

    def append(self, row: Mapping[str, Any]) -> None:
        """Keep a row, also if the run is stopped at once."""
        self.document["results"].append(dict(row))
        with self.partial.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def finish(self) -> Document:
        """Write the whole document and remove the partial one."""
        with atomic_file(self.path) as temporary:
            temporary.write_text(json.dumps(self.document, indent=1) + "\n", "utf-8")
        self.partial.unlink()
        return self.document


def load(path: Path) -> Document:
    """Read a document, or what there is of an interrupted run.

    Raises FileFormatError for anything else, for another schema, and for results that are damaged.
    """
    try:
        text = path.read_text("utf-8")
        document = _lines(text) if path.suffix == ".partial" else json.loads(text)
        if not isinstance(document, dict) or "schema" not in document:
            raise ValueError(f"a JSON {type(document).__name__} without a schema")
        if document["schema"] == SCHEMA:
            check_document(document)
            return document
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} holds no results of `opensora bench run` ({error})") from error
    raise FileFormatError(f"{path} has the schema {document['schema']!r}; this release reads {SCHEMA!r}")


def _lines(text: str) -> Document:
    """The head, then whole lines; one that was cut off is left out."""
    first, *rows = text.splitlines(keepends=True) or [""]
    head = json.loads(first)
    if not isinstance(head, dict):
        raise ValueError(f"its first line is a JSON {type(head).__name__}")
    return {**head, "results": [json.loads(row) for row in rows if row.endswith("\n")]}
