"""What a backend is known not to pass, as data: one check and one reason a line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path

from ...errors import InvalidInputError


def read_xfails(path: str | Path, known: Collection[str]) -> dict[str, str]:
    """Reasons by check, from lines "level/subject/dtype/aspect | reason"; empty lines and those with # are left out.

    known: all checks there are. Raises InvalidInputError, naming file and line, for a line of another form, a check
    that does not exist (with the nearest one) or is listed twice, and a file that is not UTF-8.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not a UTF-8 text: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            check, reason = _parse(text, f"{path}, line {number}")
            if check in found:
                raise InvalidInputError(f"{path}, line {number}: {check} is listed twice")
            require_known(check, known, f"{path}, line {number}: ")
            found[check] = reason
    return found


def check_xfails(xfails: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """Xfails given as a mapping, held to the same rules."""
    for check, reason in xfails.items():
        require_known(check, known, "xfail: ")
        if not str(reason).strip():
            raise InvalidInputError(f"xfail: {check} needs a reason")
    return dict(xfails)


def require_known(check: str, known: Collection[str], where: str = "") -> None:
    """Raise InvalidInputError, naming the nearest one, for a check that does not exist; where: begins the message."""
    if check not in known:
        near = get_close_matches(check, known, 1, cutoff=0.0)
        raise InvalidInputError(f"{where}there is no check {check!r}; the nearest is {near[0]!r}")


def _parse(text: str, where: str) -> tuple[str, str]:
    check, bar, reason = (part.strip() for part in text.partition("|"))
    if not (check and bar and reason):
        raise InvalidInputError(f"{where}: {text!r} must be 'check | reason', such as ops/erf/float16/values | no erf")
    return check, reason
