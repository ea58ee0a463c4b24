"""The options of `opensora bench run`: who is timed, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .options import Option


@dataclass(frozen=True)
class WhoOptions:
    """Who is timed."""

    backend: Annotated[str, Option(help="Backends, with commas between, or 'module:Class'.", rich_help_panel="Who")] = (
        ""
    )
    provider: Annotated[
        str,
        Option(
            help="Others by name, or your own 'module:function', which takes the op's arguments.", rich_help_panel="Who"
        ),
    ] = ""
    arrays: Annotated[
        str, Option(help="What your own function takes: numpy, torch, cupy or jax arrays.", rich_help_panel="Who")
    ] = "numpy"
    device: Annotated[
        str | None, Option(envvar="OPENSORA_DEVICE", help="Such as cpu (the default), cuda:0.", rich_help_panel="Who")
    ] = None


@dataclass(frozen=True)
class HowOptions:
    """How it is timed."""

    dtype: Annotated[str, Option(help="float32, float64, bfloat16 or float16.", rich_help_panel="How")] = "float32"
    quick: Annotated[bool, Option("--quick", help="Small cases, few samples.", rich_help_panel="How")] = False
    budget: Annotated[float | None, Option(help="Seconds for each provider in each case.", rich_help_panel="How")] = (
        None
    )
    error: Annotated[
        float | None,
        Option(help="Relative standard error at which sampling ends (default 0.02).", rich_help_panel="How"),
    ] = None
    warm: Annotated[bool, Option("--warm", help="Do not flush the caches before each call.", rich_help_panel="How")] = (
        False
    )
    seed: Annotated[
        int | None, Option(min=0, help="Of all inputs; drawn and recorded if absent.", rich_help_panel="How")
    ] = None
