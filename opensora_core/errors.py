"""The errors of this library: each names the value, what was expected, and the remedy.

Every class also derives from the built-in exception a Python user would expect, and carries the exit code that the
command line returns for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class OpenSoraError(Exception):
    """Base of every error this library raises on purpose."""

    exit_code = 1


class InvalidInputError(OpenSoraError, ValueError):
    """An argument, option or file does not have the form that was asked for."""

    exit_code = 2


class ProtocolError(OpenSoraError, TypeError):
    """Code asked a value or an op for something outside the tensor language."""


class MissingDependencyError(OpenSoraError, ImportError):
    """An optional package is absent; the message names the extra that installs it."""

    exit_code = 3


class LimitError(OpenSoraError, MemoryError):
    """The request needs more memory, pixels, frames or bytes than is available or allowed."""

    exit_code = 4


class WeightsError(OpenSoraError, KeyError):
    """A checkpoint lacks a weight, has one too many, or one of another shape."""

    exit_code = 2

    def __str__(self) -> str:  # KeyError would print the repr of its message
        return str(self.args[0]) if self.args else ""


class FileFormatError(OpenSoraError, ValueError):
    """A file is damaged, truncated, or breaks a limit of its format."""

    exit_code = 2


class NonFiniteError(OpenSoraError, ArithmeticError):
    """NaN or Inf appeared where finite numbers are required."""


class CancelledError(OpenSoraError):
    """The caller asked a running generation or training to stop."""

    exit_code = 130


def with_remedy(message: str) -> tuple[str, str]:
    """What an error's message says is wrong, and the remedy that follows the last colon, if there is one."""
    text, colon, remedy = message.rpartition(": ")
    return (text, remedy) if colon else (message, "")


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, NumPy or a backend ran out of memory; a backend's own classes are known by name and words."""
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)


@contextmanager
def memory_as_limit(what: str) -> Iterator[None]:
    """Raise LimitError, saying what did not fit, where Python, NumPy or a backend runs out of memory."""
    try:
        yield
    except OpenSoraError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        first = str(error).partition("\n")[0] or type(error).__name__
        raise LimitError(
            f"{what} does not fit into memory ({first}): ask for a smaller size or fewer frames, or free some"
        ) from error
