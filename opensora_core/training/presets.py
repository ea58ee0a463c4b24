"""Recipes that are shipped, by name."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidInputError

FOLDER = Path(__file__).resolve().parent.parent / "assets"
PRESETS = ("embedded", "open-sora-v1.2")


def recipe_file(recipe: str | Path) -> Path:
    """The file of a recipe: of a preset's name the shipped one, else the path itself.

    "embedded": how the embedded model is trained. "open-sora-v1.2": the three official stages, with files of their own
    to be named. Raises InvalidInputError where there is no such preset and no such file.
    """
    if str(recipe) in PRESETS:
        return FOLDER / f"{recipe}.toml"
    path = Path(recipe)
    if not path.exists():
        raise InvalidInputError(
            f"the recipe {str(recipe)!r} cannot be read: no such file exists, and no preset has that name; the presets "
            f"are {', '.join(PRESETS)}"
        )
    return path
