"""bench: how fast every op is, by whom, and whether that can be trusted."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from ..errors import InvalidInputError, MissingDependencyError
from .bench_options import HowOptions, WhoOptions
from .model_options import search_current_folder
from .options import Argument, Option
from .screen import Screen, columns

PATTERN = Argument(metavar="GLOB", help="Such as 'attention/*', or an op's name; `opensora bench list` shows all.")
FORMATS = {  # suffix -> (module, function)
    ".csv": ("report_table", "csv_text"),
    ".md": ("report_markdown", "markdown"),
    ".html": ("report_html", "html"),
    ".png": ("report_png", "png"),
}


def list_cases(screen: Screen, pattern: Annotated[str, PATTERN] = "*") -> None:
    """List the cases, and who can be timed here.

    Example: opensora bench list 'attention/*'
    """
    suites, providers = _benchmarks("suites"), _benchmarks("providers")
    rows = [("case", "suite", "shape", "quick")]
    cases = suites.select(pattern)
    rows += [(c.id, c.suite, " ".join(f"{k}={v}" for k, v in c.shape.items()), "yes" if c.quick else "") for c in cases]
    here = providers.available(None)
    away = {name: providers.missing_rival(name, None) for name in providers.RIVALS if name not in here}
    versions = [name for name in providers.VERSIONS if providers.missing_version(name, None) is None]
    away |= {name: providers.missing_version(name, None) for name in providers.VERSIONS if name not in versions}
    document = {"cases": [{"id": c.id, "suite": c.suite, "shape": c.shape, "quick": c.quick} for c in cases]}
    absent = [f"not here: {name}, {reason}" for name, reason in away.items()]
    screen.result(
        {**document, "providers": here, "versions": versions, "absent": away},
        *columns(rows),
        "",
        f"providers: {', '.join(here)}",
        f"versions of our kernels: {', '.join(versions)}",
        *absent,
    )


def run(
    screen: Screen,
    pattern: Annotated[str, PATTERN],
    who: WhoOptions,
    how: HowOptions,
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="File of the results, .json or also .md, .csv, .png; a page lies beside it."),
    ] = None,
) -> int:
    """Time ops by every provider, after each has proved that it is right. Exits with 1 if one was refused.

    Example: opensora bench run attention --provider my_pkg:my_attention
    """
    bench = _benchmarks("bench")
    output = output or bench.default_output(datetime.now())
    if output.suffix not in (".json", *FORMATS):
        raise InvalidInputError(f"--output {output}: {output.suffix!r} is not one of .json, {', '.join(FORMATS)}")
    results = output.with_suffix(".json")
    for name in _split(who.provider) + _split(who.backend):
        search_current_folder(name)
    asked = bench.Asked(
        pattern, _split(who.backend), _split(who.provider), who.arrays, how.dtype, who.device, how.quick, how.budget,
        how.error, how.warm, how.seed,
    )  # fmt: skip
    try:
        with screen.progress("bench", report=True) as advance:
            document = bench.run(asked, output, advance)
    except KeyboardInterrupt:
        if Path(f"{results}.partial").exists():
            screen.say(f"results so far are kept: opensora bench report {results}.partial")
        raise
    for warning in bench.warnings(document):
        screen.note(warning)
    _show(screen, document)
    others = [path for path in dict.fromkeys((output.with_suffix(".html"), output)) if path != results]
    for path in others:
        _write(document, path)
    screen.say(f"wrote {', '.join(map(str, (results, *others)))}")
    return 1 if bench.failures(document) else 0


def compare(
    screen: Screen,
    a: Annotated[Path, Argument(metavar="A", help="Results of a first run.")],
    b: Annotated[Path, Argument(metavar="B", help="Results of a second run on the same machine.")],
    margin: Annotated[float, Option(help="Relative difference of the medians that counts as none.")] = 0.1,
) -> int:
    """Say where the second run is FASTER, SLOWER, the SAME, or UNSURE, and what only one of them has a time for.

    Exits with 1 if anything is SLOWER, or has a time in A and is FAIL or ERROR in B.

    Example: opensora bench compare before.json after.json
    """
    module = _benchmarks("compare")
    first, second = map(_benchmarks("results").load, (a, b))
    found, changes = module.compare(first, second, margin), module.changes(first, second)
    rows = [("case", "provider", "B/A", "95 % interval", "verdict")]
    rows += [(c.case, c.provider, f"{c.ratio:.3f}", f"{c.low:.3f} - {c.high:.3f}", c.verdict) for c in found]
    screen.result(
        {"margin": margin, "comparisons": [asdict(c) for c in found], "changes": [asdict(c) for c in changes]},
        *(columns(rows) if found else ["no row was timed in both runs"]),
        *(f"{c.case}  {c.provider}: {c.change}" for c in changes),
    )
    return 1 if any(c.verdict == "SLOWER" for c in found) or any(c.lost for c in changes) else 0


def report(
    screen: Screen,
    results: Annotated[Path, Argument(metavar="FILE", help="Results of a run, or of an interrupted one (.partial).")],
    output: Annotated[
        Path | None, Option("--output", "-o", help="Write .html, .md, .csv or .png instead of showing a table.")
    ] = None,
) -> None:
    """Show the results of a run, or write them in another form.

    Example: opensora bench report bench.json -o bench.md
    """
    document = _benchmarks("results").load(results)
    if output is None:
        _show(screen, document)
        return
    if output.suffix not in FORMATS:
        raise InvalidInputError(f"--output {output}: {output.suffix!r} is not one of {', '.join(FORMATS)}")
    _write(document, output)
    screen.result({"output": str(output)}, f"wrote {output}")


def roofline(
    screen: Screen,
    dtypes: Annotated[str, Option(help="Those to measure.")] = "float32",
    device: Annotated[str | None, Option(envvar="OPENSORA_DEVICE", help="Such as cpu (the default), cuda:0.")] = None,
) -> None:
    """Measure how fast this machine multiplies matrices and moves memory.

    Example: opensora bench roofline --dtypes float32,bfloat16
    """
    found = _benchmarks("bench").roofline(device, _split(dtypes))
    rows = [("dtype", "TFLOP/s", "by", "GB/s", "by", "FLOPs a byte")]
    rows += [
        (r.dtype, f"{r.flops / 1e12:.3g}", r.by[0], f"{r.bytes / 1e9:.3g}", r.by[1], f"{r.flops / r.bytes:.3g}")
        for r in found
    ]
    screen.result({"roofline": [asdict(r) for r in found]}, *columns(rows))


COMMANDS: dict[str, Callable[..., int | None]] = {
    "list": list_cases,
    "run": run,
    "compare": compare,
    "report": report,
    "roofline": roofline,
}


def _benchmarks(module: str) -> Any:
    """A module of the benchmarks, which the library itself does not need."""
    for package in ("opensora_benchmarks", "hypothesis"):
        if importlib.util.find_spec(package) is None:
            reason = f"benchmarks need the package {package!r}, which is not installed"
            raise MissingDependencyError(f"{reason}: pip install 'opensora-core[bench]'", name=package)
    return importlib.import_module(f"opensora_benchmarks.{module}")


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _write(document: Any, output: Path) -> None:
    """The results in the form that the suffix names."""
    from ..serialization.atomic import atomic_file

    module, function = FORMATS[output.suffix]
    made = getattr(_benchmarks(module), function)(document)
    with atomic_file(output) as temporary:
        temporary.write_bytes(made if isinstance(made, bytes) else made.encode())


def _show(screen: Screen, document: Any) -> None:
    """The document, or its table as wide as the terminal."""
    if screen.json:
        screen.result(document)
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    with console.capture() as captured:
        console.print(_benchmarks("report_table").terminal(document))
    sys.stdout.write(captured.get())
