"""conformance: whether the library runs right on a backend, and where it does not."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from .model_options import search_current_folder
from .options import Argument, Option
from .screen import Screen, columns


def conformance(
    screen: Screen,
    target: Annotated[
        str, Argument(metavar="TARGET", help="A backend's name, 'module:Class', or vanilla, strict, tape (over NumPy).")
    ],
    level: Annotated[str, Option(help="The last level to run: ops, blocks, model or train.")] = "train",
    xfail: Annotated[
        Path | None, Option(help="File of checks known to fail, one 'check | reason' a line; it must be exact.")
    ] = None,
    junit: Annotated[Path | None, Option(help="Also write the result as JUnit XML to this file.")] = None,
    examples: Annotated[int, Option(help="Calls drawn for every op; more find rarer faults.")] = 30,
    dtypes: Annotated[str, Option(help="Those to test.")] = "float64,float32,bfloat16,float16",
    only: Annotated[str, Option(help="Test only what has this in its name, such as ops/softmax.")] = "",
    device: Annotated[str | None, Option(envvar="OPENSORA_DEVICE", help="Such as cpu (the default), cuda:0.")] = None,
    failures_only: Annotated[bool, Option("--failures-only", help="List only what did not pass.")] = False,
) -> int:
    """Check a backend op by op, then in blocks, a whole model and training. Exits with 1 unless all passes.

    Example: opensora conformance my_pkg:MyOps --level blocks
    """
    from ..serialization.atomic import atomic_file
    from ..testing.conformance import conformance as run
    from ..testing.conformance import junit_xml

    search_current_folder(target)
    chosen = [name.strip() for name in dtypes.split(",")]
    with atomic_file(junit) if junit else nullcontext() as file:
        with screen.progress("conformance", report=True) as advance:
            report = run(
                target,
                level,
                xfail=xfail,
                examples=examples,
                dtypes=chosen,
                only=only,
                device=device,
                progress=advance,
            )
        if file is not None:
            file.write_text(junit_xml(report), "utf-8")
    rows = columns(list(report.rows(failures_only=failures_only)))
    screen.result(report.to_dict(), *(rows if len(rows) > 1 else ()), *report.details(), report.summary)
    return 0 if report.ok else 1
