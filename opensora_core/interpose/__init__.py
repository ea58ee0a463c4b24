"""Interpreters that wrap another interpreter and see every op: the tape, the FLOP counter, Strict, Lockstep."""

from .box import Box
from .flops import Cost, FlopCounter
from .interposer import WHOLE, Interposer
from .lockstep import Lockstep
from .strict import Strict

__all__ = ["WHOLE", "Box", "Cost", "FlopCounter", "Interposer", "Lockstep", "Strict"]
