"""Interpreters that wrap another interpreter and see every op: the tape, the profiler, the strict checker."""

from .box import Box
from .flops import Cost, FlopCounter
from .interposer import Interposer
from .strict import Strict

__all__ = ["Box", "Cost", "FlopCounter", "Interposer", "Strict"]
