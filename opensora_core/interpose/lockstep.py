"""Lockstep: one computation on two backends at once, compared op by op."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from ..accuracy import HostArray
from ..errors import InvalidInputError, ProtocolError
from ..ops import FUSED, Array, Ops
from .box import Box
from .difference import Difference, difference, failure
from .drift import Drift
from .finding import Finding, Own, overrides
from .host import dtype_name, is_array, read_only, replace_arrays
from .interposer import WHOLE, Args, Interposer
from .lockstep_rule import DTYPE_AT, Errors, RatioRule
from .places import Place, Places

Mode = Literal["own", "reference"]
"""What the candidate is fed: its own results, so that differences add up, or those of the reference."""

DRIFT = {"float64": 1e-11, "float32": 1e-4, "float16": 32 * 2**-11, "bfloat16": 32 * 2**-8}
"""Relative L2 difference that a whole generation may drift apart, by the dtype in which models are loaded."""


class Pair(Box):
    """One value on both backends: `value` on the reference, `other` on the candidate."""

    __slots__ = ("other",)

    def __init__(self, value: Array, other: Array, ops: Lockstep) -> None:
        super().__init__(value, ops)
        self.other = other

    @property
    def dtype(self) -> str:
        """Name of the dtype, which both backends understand."""
        return self.ops.inner.dtype_name(self.value)


class Lockstep(Interposer):
    """Runs every op on `reference` and on `candidate` and compares the results on the host.

    mode: see `Mode`. limit: of the relative L2 difference in mode "own", by default DRIFT of the reference's dtype.
    units: fused ops seen whole, by default all. zoom: open the first op beyond tolerance, if it is a fused one, and
    judge what it is made of, down to a primitive.

    `first` is the first op beyond tolerance, `drift` what is known of all. Beyond tolerance is, in mode "reference", an
    op that breaks the ratio rule, and in mode "own" one that does so where the drift is over the limit: a drift alone
    may come from a function as steep as it is. Values that leave the language are those of
    the reference. A candidate that raises, or returns another shape or dtype, is beyond tolerance there, and goes on
    with the reference's result.
    """

    def __init__(
        self,
        reference: Ops,
        candidate: Ops,
        *,
        mode: Mode = "own",
        limit: float | None = None,
        units: Iterable[str] = WHOLE,
        zoom: bool = False,
        places: Places | None = None,
        rule: RatioRule | None = None,
    ) -> None:
        super().__init__(reference, units)
        if mode not in ("own", "reference"):
            raise InvalidInputError(f"mode={mode!r} must be 'own' or 'reference'")
        if reference.dtype != candidate.dtype:
            raise InvalidInputError(f"{reference.name} is in {reference.dtype}, but {candidate.name} {candidate.dtype}")
        self.candidate, self.mode, self.zoom = candidate, mode, zoom
        self.limit = DRIFT[reference.dtype] if limit is None else limit
        self.places = places or Places()
        self.name = f"lockstep({reference.name}, {candidate.name})"
        self.step = 0
        self.drift = Drift()
        self.first: Finding | None = None
        self._rule = rule or RatioRule()

    # ------------------------------------------------------------------ the hook

    def process(self, op: str, args: Args) -> Pair:
        """Do the op on both sides, compare, and go on with each side's own result or with the reference's."""
        if op in DTYPE_AT:
            at = DTYPE_AT[op]
            args = (*args[:at], dtype_name(args[at]), *args[at + 1 :])
        mine, place = self.run(op, args), self.places.here()
        own = self.mode == "own"
        theirs, apart = self._candidate(op, args, mine, own)
        if own:
            suspect = self.first is None and apart.rel_l2 > self.limit and not apart.note
            errors = self._alone(op, args, mine, place) if suspect else None
        else:
            errors = self._judge(op, args, mine, theirs, place)
        beyond = bool(apart.note) or errors is not None
        if beyond and self.first is None:
            self.first = self._finding(op, args, mine, apart, errors, place)
        self.drift.add(op, apart, place, beyond)
        return Pair(mine, theirs if own and theirs is not None else self.moved(mine), self)

    def finish_step(self) -> None:
        """Note that a step of the sampler is done."""
        self.step += 1
        self.drift.marks.append(self.drift.ops)

    def compare(self, pair: Pair) -> Difference:
        """How far the two sides of a value are apart."""
        return difference(self.host(pair), np.asarray(self.candidate.to_numpy(pair.other)))

    def moved(self, x: Array) -> Array:
        """An array of the reference (or of the host) on the candidate, which cannot write into the original.

        Raises ProtocolError if the candidate cannot take it, since nothing can be compared then.
        """
        host = read_only(self.host(x))
        try:
            return self.candidate.asarray(host)
        except (Exception, SystemExit) as error:
            raise ProtocolError(
                f"{self.candidate.name}.asarray cannot take {host.dtype.name}{list(host.shape)} from the host "
                f"({type(error).__name__}: {error}); without it nothing can be compared"
            ) from error

    def host(self, x: Array) -> HostArray:
        """The reference's array (or one that is there already) on the host."""
        return x if isinstance(x, np.ndarray) else np.asarray(self.to_numpy(x))

    # ------------------------------------------------------------------ the candidate's side

    def _candidate(self, op: str, args: Args, mine: Array, own: bool) -> tuple[Array | None, Difference]:
        """Run the candidate on its own arguments or the reference's; None for a result of no use."""
        try:
            theirs = getattr(self.candidate, op)(*replace_arrays(args, lambda x: self._fed(op, x, own)))
            if not is_array(theirs):
                return None, failure(f"it returns {type(theirs).__name__}, not an array")
            host = np.asarray(self.candidate.to_numpy(theirs))
            found, wanted = self.candidate.dtype_name(theirs), self.inner.dtype_name(mine)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # whatever a backend under test does wrong is what was asked for
            return None, failure(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300])
        if found != wanted:
            return None, failure(f"dtype {found}, not {wanted}")
        reference = self.host(mine)
        operands = [self.host(x) for x in args if is_array(x)] if op in ("add", "subtract") else []
        apart = difference(reference, host, operands)
        return (theirs if host.shape == reference.shape else None), apart

    def _fed(self, op: str, x: Array, own: bool) -> Array:
        """Return what the candidate is fed for one array."""
        if isinstance(x, Pair) and x.ops is self:
            return x.other if own else self.moved(x.value)
        return read_only(x) if isinstance(x, np.ndarray) and op == "asarray" else self.moved(x)

    # ------------------------------------------------------------------ judgement

    def _alone(self, op: str, args: Args, mine: Array, place: Place) -> Errors | None:
        """In mode "own": whether the op errs by itself too, or only hands on what its arguments bring."""
        return self._judge(op, args, mine, self._candidate(op, args, mine, own=False)[0], place)

    def _judge(self, op: str, args: Args, mine: Array, theirs: Array | None, place: Place) -> Errors | None:
        """Errors of results for the same arguments, if they are beyond the ratio rule."""
        if theirs is None:
            return None
        host = np.asarray(self.candidate.to_numpy(theirs))
        return self._rule.judge(op, replace_arrays(args, self.host), self.host(mine), host, place.module + place.line)

    def _finding(
        self, op: str, args: Args, mine: Array, apart: Difference, errors: Errors | None, place: Place
    ) -> Finding:
        zoomed = self.zoom and op in FUSED
        return Finding(
            index=self.drift.ops,
            op=op,
            step=self.step,
            place=place,
            arguments=tuple(map(self._describe, args)),
            result=self._describe(mine),
            difference=apart,
            errors=errors,
            own=Own(overrides(self.inner, op), overrides(self.candidate, op)),
            zoomed=zoomed,
            inside=self._inside(op, args) if zoomed else None,
        )

    def _inside(self, op: str, args: Args) -> Finding | None:
        """Run the op's composition in lockstep on the reference's arguments; the first unit that errs by itself."""
        units = self.units - {op}
        opened = Lockstep(
            self.inner, self.candidate, mode="reference", units=units, zoom=True, places=self.places, rule=self._rule
        )
        opened.step = self.step
        getattr(Ops, op)(opened, *self._handed(args, opened))
        return opened.first

    def _handed(self, args: Args, to: Lockstep) -> Args:
        """The reference's arguments as pairs of another lockstep."""

        def hand(x: Array) -> Pair:
            value = self.unbox(x)
            return Pair(value, self.moved(value), to)

        return replace_arrays(args, hand)

    def _describe(self, x: Any) -> str:
        if isinstance(x, list | tuple):
            return f"[{', '.join(map(self._describe, x))}]"
        return f"{self.inner.dtype_name(x)}{list(x.shape)}" if is_array(x) else f"{x!r:.40}"
