"""The command group that turns every exception into a short message and an exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import OpenSoraError, is_out_of_memory
from .screen import write_json

OUT_OF_MEMORY, INTERRUPTED = 4, 130

# Newer releases of Typer carry their own Click; its base exception is found through a public one either way.
UsageError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


class Program(TyperGroup):
    """The whole of `opensora`.

    --debug and --json are looked up in the arguments here, so that they also hold for arguments that cannot be parsed.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one verb; in standalone mode exit with its code, else return it."""
        given = sys.argv[1:] if args is None else list(args)
        try:
            result = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
            code = result if isinstance(result, int) else 0
        except Exception as error:
            code = report(error, as_json="--json" in given, debug="--debug" in given)
        if standalone_mode:
            sys.exit(code)
        return code


def report(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Print what went wrong and return the exit code."""
    code, message = explain(error)
    if debug:
        traceback.print_exception(error)
    print(f"error: {message}", file=sys.stderr)
    if as_json:
        write_json({"error": message, "type": type(error).__name__, "exit_code": code})
    return code


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and message of one exception."""
    if isinstance(error, OpenSoraError):
        return error.exit_code, str(error)
    if isinstance(error, UsageError):
        return _usage(error)
    if isinstance(error, typer.Abort):
        return INTERRUPTED, "interrupted"
    if is_out_of_memory(error):
        first = str(error).partition("\n")[0]
        return OUT_OF_MEMORY, f"out of memory ({first}); ask for a smaller size or fewer frames, or free some memory"
    if isinstance(error, OSError):
        return _os_error(error)
    return 1, f"internal error, {type(error).__name__}: {error}\n  --debug shows where; please report it"


def _usage(error: Any) -> tuple[int, str]:
    message = _with_value(error)
    context = getattr(error, "ctx", None)
    hint = f"\n  try: {context.command_path} --help" if context is not None else ""
    return int(error.exit_code) or 2, message[:1].lower() + message[1:].rstrip(".") + hint


def _with_value(error: Any) -> str:
    """Typer's message; where Pydantic wrote it, without the value that was given, that is added."""
    message: str = error.format_message()
    details = getattr(error.__cause__, "errors", None)
    value = details()[0].get("input") if callable(details) else None
    return message if value is None or repr(value) in message else f"{message.rstrip('.')}; got {value!r}"


def _os_error(error: OSError) -> tuple[int, str]:
    code = OUT_OF_MEMORY if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM) else 2
    where = f"{error.filename}: " if error.filename else ""
    return code, f"{where}{error.strerror or error}"
