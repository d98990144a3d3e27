"""At the helm of a staged load: it ends early once a hold has missed its objective, if that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.arrivals import Staged
from pytest_servebench.load.helm import Helm, LocalHelm
from pytest_servebench.plan import Load
from pytest_servebench.samples import Slice
from pytest_servebench.staged.early_end import missed_hold
from pytest_servebench.statistics.early_stopping import finding_of

LOOK_S = 2.0
"""How often it looks, as k6 does; of a short load 20 times in all."""
_LOOKS = 20
_NS_PER_S = 1e9


def helm_of(load: Load) -> Helm:
    """Return who decides about a load that this process alone sends."""
    alone = LocalHelm(load)
    return alone if load.abort_after_s is None else StageHelm(load, alone)


class StageHelm:
    """Satisfies `load.helm.Helm`; what it does not decide is left to another."""

    def __init__(self, load: Load, other: Helm) -> None:
        self._load = load
        self._other = other
        length_s = load.arrivals.length_s if isinstance(load.arrivals, Staged) else load.duration_s
        self._step_ns = round(min(LOOK_S, length_s / _LOOKS) * _NS_PER_S)
        self._next_ns = 0
        finding_of(0, 1, 0.5)  # its library takes a second to import: now, and not between two sends

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        """Return what the other says."""
        return self._other.warmed_up(slices, now_ns)

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        """Return ``now_ns`` once a hold has missed its objective, else what the other says."""
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + self._step_ns
            if missed_hold(slices, self._load) is not None:
                return now_ns
        return self._other.enough(slices, now_ns)
