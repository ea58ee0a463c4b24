"""Whether a document holds results as `opensora bench run` writes them: what reports and comparisons rely on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

ENVIRONMENT = ("processor", "processors", "gpu", "threads", "blas", "load", "date", "commit", "seed")
TEXTS = ("case", "provider", "dtype", "cache", "device", "status")
STATES = ("ok", "fail", "error", "skip")
ABOVE_ZERO = ("median_s", "p20_s", "p80_s", "n", "first_call_s")
NOT_BELOW_ZERO = ("flops", "bytes", "intensity", "tflops", "gbs", "roofline_share", "error_of_allowed")


def check_document(document: Mapping[str, Any]) -> None:
    """Raises ValueError that names the first thing that is missing or is not what it must be."""
    for name, kind in (("environment", dict), ("roofline", dict), ("results", list)):
        _expect(isinstance(document.get(name), kind), f"{name!r} must be {_a(kind)}, not {_shown(document.get(name))}")
    _check_environment(document["environment"])
    _check_roofline(document["roofline"])
    for number, row in enumerate(document["results"], 1):
        try:
            _check_row(row)
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from None


def _check_environment(environment: Mapping[str, Any]) -> None:
    missing = [name for name in ENVIRONMENT if name not in environment]
    _expect(not missing, f"'environment' lacks {', '.join(missing)}")
    load, threads = environment["load"], environment["threads"]
    _expect(isinstance(threads, dict), f"'threads' must be {_a(dict)}, not {_shown(threads)}")
    _expect(_is_number(environment["processors"]), f"'processors' must be a number, not {environment['processors']!r}")
    _expect(load is None or _numbers(load), f"'load' must be null or numbers, not {_shown(load)}")


def _check_roofline(roofline: Mapping[str, Any]) -> None:
    by = roofline.get("by")
    _expect(all(_above_zero(roofline.get(name)) for name in ("flops", "bytes")), "'roofline' needs flops and bytes > 0")
    _expect(isinstance(roofline.get("dtype"), str), "'roofline' lacks its dtype")
    _expect(isinstance(by, list) and len(by) == 2, f"'by' of the roofline must be two names, not {_shown(by)}")


def _check_row(row: Any) -> None:
    _expect(isinstance(row, dict), f"it must be {_a(dict)}, not {_shown(row)}")
    for name in TEXTS:
        _expect(isinstance(row.get(name), str), f"{name!r} must be a text, not {_shown(row.get(name))}")
    shape = row.get("shape")
    _expect(isinstance(shape, dict), f"'shape' must be {_a(dict)}, not {_shown(shape)}")
    _expect(_above_zero(shape.get("tokens", 1)), f"'tokens' must be above 0, not {_shown(shape.get('tokens'))}")
    _expect(row["status"] in STATES, f"'status' must be one of {', '.join(STATES)}, not {row['status']!r}")
    if row["status"] == "ok":
        _check_timed(row)
    else:
        _expect(isinstance(row.get("reason"), str), f"'reason' must be a text, not {_shown(row.get('reason'))}")


def _check_timed(row: Mapping[str, Any]) -> None:
    """A row with samples, and with what was worked out from them."""
    samples, memory = row.get("samples_s"), row.get("peak_memory")
    _expect(_numbers(samples), f"'samples_s' must be a list of finite numbers, not {_shown(samples)}")
    wrong = [x for x in samples or () if not _above_zero(x)]
    _expect(not wrong, f"'samples_s' must be above 0, not {wrong[:1]}")
    for name in ABOVE_ZERO:
        _expect(_above_zero(row.get(name)), f"{name!r} must be a number above 0, not {_shown(row.get(name))}")
    for name in NOT_BELOW_ZERO:
        value = row.get(name)
        _expect(_is_number(value) and value >= 0, f"{name!r} must be a number, at least 0, not {_shown(value)}")
    worked = not row["flops"] or (row["intensity"] > 0 and row["tflops"] > 0)
    _expect(worked, "'intensity' and 'tflops' must be above 0 where 'flops' are")
    _expect(row.get("bound") in ("compute", "memory"), f"'bound' must be compute or memory, not {row.get('bound')!r}")
    _expect(isinstance(memory, dict), f"'peak_memory' must be {_a(dict)}, not {_shown(memory)}")
    for where in ("host", "device"):
        size = memory.get(where, "missing")
        _expect(size is None or _is_number(size), f"'peak_memory' of the {where} must be null or bytes, not {size!r}")


def _expect(held: bool, complaint: str) -> None:
    if not held:
        raise ValueError(complaint)


def _is_number(value: Any) -> bool:
    """A finite one that a float can hold; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _above_zero(value: Any) -> bool:
    return _is_number(value) and value > 0


def _numbers(values: Any) -> bool:
    """A list that is not empty, of finite numbers."""
    return isinstance(values, list) and len(values) > 0 and all(_is_number(x) for x in values)


def _a(kind: type) -> str:
    return "an object" if kind is dict else "a list"


def _shown(value: Any) -> str:
    """As JSON calls it, a long value cut off."""
    if value is None:
        return "missing or null"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
