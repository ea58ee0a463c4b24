"""doctor: whether everything works here, and what to do where it does not."""

from __future__ import annotations

from dataclasses import asdict

from .screen import Screen, columns


def doctor(screen: Screen) -> int:
    """Check this installation: packages, backends, encoders, the embedded model. Exits with 1 if something fails.

    Example: opensora doctor
    """
    from .checkup import check_all

    findings = list(check_all())
    failed = [f.name for f in findings if f.status == "fail"]
    rows = [("check", "result", "")]
    rows += [(f.name, f.status, f.text + (f" -> {f.remedy}" if f.remedy else "")) for f in findings]
    verdict = f"{len(failed)} failed: {', '.join(failed)}" if failed else "everything needed works"
    screen.result({"ok": not failed, "checks": [asdict(f) for f in findings]}, *columns(rows), verdict)
    return 1 if failed else 0
