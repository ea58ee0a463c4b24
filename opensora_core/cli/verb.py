"""Makes commands of plain functions: groups of options are dataclasses, and every verb has --json, --quiet, --debug."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

from ..errors import CancelledError
from .screen import Screen

JSON = Annotated[bool, typer.Option("--json", help="Write the result to stdout as one JSON document.")]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Write no progress and no notes, only errors.")]
DEBUG = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
BROKEN_PIPE = 141  # as a shell reports SIGPIPE
COMMON = {"json": JSON, "quiet": QUIET, "debug": DEBUG}  # --debug is read by Program

Parameter = inspect.Parameter


def verb(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Return the command that Typer is to see for `function(screen, ...)`.

    A parameter annotated with a dataclass becomes the options that its fields declare; the Screen is made from the
    common options. What the function returns is the exit code, None meaning 0.
    """
    groups: dict[str, Any] = {}
    parameters: list[Parameter] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters += _options(parameter.annotation)
        elif parameter.annotation is not Screen:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
    parameters += [Parameter(n, Parameter.KEYWORD_ONLY, default=False, annotation=a) for n, a in COMMON.items()]

    def command(**values: Any) -> int | None:
        common = {name: values.pop(name) for name in COMMON}
        screen = Screen(json=common["json"], quiet=common["quiet"])
        for name, group in groups.items():
            values[name] = group(**{f.name: values.pop(f.name) for f in fields(group)})
        with _warnings_as_notes(screen):
            try:
                return function(screen, **values)
            except KeyboardInterrupt as error:
                notes = getattr(error, "__notes__", [])  # such as where the latents so far are
                raise CancelledError("; ".join(["interrupted", *notes])) from error
            except BrokenPipeError:  # whoever read the output has gone
                raise typer.Exit(BROKEN_PIPE) from None

    command.__doc__, command.__name__ = function.__doc__, function.__name__
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _options(group: Any) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            f.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if f.default is MISSING else f.default,
            annotation=hints[f.name],
        )
        for f in fields(group)
    ]


@contextmanager
def _warnings_as_notes(screen: Screen) -> Iterator[None]:
    """Warnings meant for users become notes, once each; those meant for developers are left out."""

    def show(message: Warning | str, *rest: Any, **named: Any) -> None:
        text = str(message).strip().partition("\n")[0]
        if text not in screen.notes:
            screen.note(text)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield
