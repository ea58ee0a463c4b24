"""The verbs of `opensora` put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from . import bench
from .backends import backends
from .conformance import conformance
from .convert import convert
from .decode import decode
from .doctor import doctor
from .evaluate import evaluate
from .generate import animate, extend, generate
from .info import info
from .parity import parity
from .plan import plan
from .program import Program
from .train import train
from .verb import verb
from .verify import verify
from .warmup import warmup

VERBS: dict[str, tuple[Callable[..., int | None], ...]] = {
    "Make videos": (generate, animate, extend, decode),
    "Inspect": (info, plan, convert, backends, warmup),
    "Train and judge": (train, evaluate),
    "Check": (doctor, verify, conformance, parity),
}

app = typer.Typer(
    cls=Program,
    name="opensora",
    help="Text, images and clips to video, on NumPy, Torch and others alike.",
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)
for panel, functions in VERBS.items():
    for function in functions:
        app.command(rich_help_panel=panel)(verb(function))

benchmarks = typer.Typer(
    cls=Program, name="bench", help="Time every op by every provider that gets it right.", no_args_is_help=True
)
for name, benchmark in bench.COMMANDS.items():
    benchmarks.command(name)(verb(benchmark))
app.add_typer(benchmarks, rich_help_panel="Check")


def _show_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"opensora-core {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> int:
    """Text, images and clips to video, on NumPy, Torch and others alike."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    return 0
