"""How long an open loop's load is: its schedule says, unless a time was asked for (pure)."""

from __future__ import annotations

from dataclasses import replace

from pytest_servebench.arrivals import Replay, Staged
from pytest_servebench.errors import PlanError
from pytest_servebench.plan import Load

MARGIN_S = 0.05
"""Beyond a trace's last arrival, so that it is sent before the window ends, on a busy machine too."""


def shaped(load: Load, *, timed: bool) -> Load:
    """Return ``load`` as long as its schedule, of which the warm-up is the first part.

    Endless arrivals leave it as it is. With ``timed``, the load keeps its own length: stages are
    shortened or lengthened to it at the same rates, and a longer trace is cut. Raises
    `PlanError` when the warm-up would be all there is.
    """
    arrivals = load.arrivals
    if isinstance(arrivals, Staged) and timed:
        return replace(load, arrivals=arrivals.lasting(load.warmup_s + load.duration_s))
    if not isinstance(arrivals, (Staged, Replay)):
        return load
    if arrivals.length_s <= load.warmup_s:
        raise PlanError(
            "the warm-up takes all the arrivals there are",
            where=str(arrivals),
            seen=f"warm-up {load.warmup_s:g} s, arrivals for {arrivals.length_s:g} s",
            next_step="shorten the warm-up, as in --serve-warmup=0",
        )
    margin_s = MARGIN_S if isinstance(arrivals, Replay) else 0.0
    measured_s = arrivals.length_s - load.warmup_s + margin_s
    return replace(load, duration_s=min(load.duration_s, measured_s) if timed else measured_s)
