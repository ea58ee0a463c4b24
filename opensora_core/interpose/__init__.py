"""Interpreters that wrap another interpreter and see every op: the tape, the FLOP counter, Strict, Lockstep."""

from .box import Box
from .flops import Cost, FlopCounter
from .interposer import Interposer
from .lockstep import Lockstep
from .strict import Strict

__all__ = ["Box", "Cost", "FlopCounter", "Interposer", "Lockstep", "Strict"]
