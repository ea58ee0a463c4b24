"""Going on with another recipe than the one that made a checkpoint: what differs, and what may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, NamedTuple

from .recipe import Recipe

FIXED = ("prediction", "train", "frozen", "lora")  # what the output means, and which weights have moments
REMEDY = (
    "Rates, steps, stages, data and the seed may change, these may not: leave them as they were, or begin a run in "
    "another folder, which --warm-start --init RUN/model lets start from these weights where they fit"
)


class Change(NamedTuple):
    """A key of the recipe, such as "stages.2.steps", with its values; None where it is left at its default."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        before, now = ("the default" if value is None else f"{value!r:.60}" for value in (self.before, self.now))
        return f"{self.key} was {before}, is {now}"

    @property
    def is_fixed(self) -> bool:
        """Whether no run can go on with it, whatever the shapes of its weights."""
        return self.key.partition(".")[0] in FIXED


def described(value: Any) -> Any:
    """A recipe, or a part of one, as JSON values without what is left at its default."""
    if is_dataclass(value):
        own = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != _default(f)}
        return {name: described(field) for name, field in own.items()}
    if isinstance(value, Mapping):
        return {str(name): described(field) for name, field in value.items()}
    return [described(item) for item in value] if isinstance(value, list | tuple) else value


def changes(before: Mapping[str, Any], recipe: Recipe) -> list[Change]:
    """What differs between the recipe of a checkpoint, as `described`, and this one."""
    return _changes("", before, described(recipe))


def _changes(key: str, before: Any, now: Any) -> list[Change]:
    if isinstance(before, list) and isinstance(now, list):
        before, now = (dict(enumerate(items, 1)) for items in (before, now))
    if not isinstance(before, dict) or not isinstance(now, dict):
        return [] if before == now else [Change(key, before, now)]
    found: list[Change] = []
    for name in dict.fromkeys([*before, *now]):
        found += _changes(f"{key}.{name}" if key else str(name), before.get(name), now.get(name))
    return found


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
