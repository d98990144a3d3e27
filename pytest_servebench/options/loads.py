"""The load of a benchmark's case: its arrivals or its loop, its length, and who makes it (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_servebench.arrivals import Arrivals, Constant, Poisson
from pytest_servebench.counts import count_of
from pytest_servebench.errors import PlanError
from pytest_servebench.k6.scenario import why_not
from pytest_servebench.objective import Objective
from pytest_servebench.options.marker import OPEN, WAITING
from pytest_servebench.options.pace import STAGED, pace_of
from pytest_servebench.options.planning import default_pace
from pytest_servebench.options.shape import shaped
from pytest_servebench.plan import Engine, Load, Plan, WireProtocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a benchmark wants to be asked, of whatever deployment."""

    concurrency: int | str
    arrivals: Arrivals | None = None
    """None: a closed loop."""
    searched: Objective | None = None
    """What the highest rate is looked for that holds it; None: nothing is looked for."""
    judged: bool = False
    """Whether its stages are judged, and may end early."""

    @property
    def has_one_in_flight(self) -> bool:
        """Whether a server never has anything to batch."""
        return self.concurrency == 1 and self.arrivals is None and self.searched is None


def wish_of(
    plan: Plan, concurrency: int | str, arrivals: Arrivals | str | None, objective: Objective | str | None
) -> Wish | None:
    """Return what a marker's words come to under ``plan``; None for a benchmark that waits for a choice."""
    searched = _objective(plan, objective)
    pace = None if searched else pace_of(plan, arrivals)
    if (objective == OPEN and searched is None) or (arrivals in WAITING and pace is None):
        return None
    return Wish(
        concurrency=plan.concurrency or concurrency,
        arrivals=pace,
        searched=searched,
        judged=arrivals == STAGED,
    )


def load_of(wish: Wish, plan: Plan, max_batch_size: int, protocol: WireProtocol, *, meant: bool) -> Load:
    """Return the load of a case; ``meant``: the benchmark itself chose its protocol.

    Raises `PlanError` for one that the plan's engine cannot make.
    """
    load = (
        _closed_loop(wish, plan, max_batch_size) if wish.arrivals is None else _open_loop(wish.arrivals, plan)
    )
    if wish.judged:
        load = replace(load, objective=plan.objective, abort_after_s=plan.abort_after_s)
    return _made(load, plan, protocol, meant=meant, searched=wish.searched is not None)


def _objective(plan: Plan, marked: Objective | str | None) -> Objective | None:
    """Return the objective of a benchmark whose marker says ``marked``; None: it has no use for one."""
    if marked is None:
        return None
    if "objective" in plan.settings:
        return plan.objective
    return None if isinstance(marked, str) else marked


def _closed_loop(wish: Wish, plan: Plan, max_batch_size: int) -> Load:
    in_flight = count_of(wish.concurrency, max_batch_size)
    return Load(
        concurrency=in_flight,
        max_in_flight=plan.max_in_flight,
        # The probes of a search are open loops, which keep all of them busy.
        workers=plan.load_workers[: None if wish.searched else in_flight],
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
        steady=plan.steady,
        precision=plan.precision,
    )


def _open_loop(arrivals: Arrivals, plan: Plan) -> Load:
    # What was asked to take a certain time does: by the option, or in one of the short forms.
    timed = plan.quick or "duration" in plan.settings
    load = Load(
        arrivals=arrivals,
        max_in_flight=plan.max_in_flight,
        workers=plan.load_workers[: plan.max_in_flight],
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
    )
    if isinstance(arrivals, (Constant, Poisson)):
        return replace(load, steady=plan.steady, precision=plan.precision)
    # A schedule that changes its rate is never steady, and is measured to its end.
    if plan.steady:
        load = replace(load, warmup_s=default_pace(quick=plan.quick).warmup_s)
    return shaped(load, timed=timed)


def _made(load: Load, plan: Plan, protocol: WireProtocol, *, meant: bool, searched: bool) -> Load:
    """Return ``load`` with the plan's engine; raises `PlanError` when that cannot make it.

    A protocol that k6 does not speak, and that the benchmark means, is spoken by our own sender:
    no engine was asked for it.
    """
    if meant and protocol is not WireProtocol.HTTP and "protocol" not in plan.settings:
        return load
    flag = f"--serve-load-engine={plan.engine}"
    if searched and plan.engine is not Engine.SERVEBENCH:
        raise PlanError(
            f"{plan.engine} cannot look for a capacity",
            where=flag,
            seen="the search looks at every request, which only servebench's own engine keeps",
            next_step="use --serve-load-engine=servebench, or deselect the benchmarks with an objective",
        )
    trouble = why_not(load, protocol) if plan.engine is Engine.K6 else ""
    if trouble:
        raise PlanError(
            "k6 cannot make this load",
            where=flag,
            seen=trouble,
            next_step="use --serve-load-engine=servebench, or leave that to it and give k6 a closed loop, "
            "constant:RATE or stages:... over http, of a fixed length, from one process",
        )
    return replace(load, engine=plan.engine)
