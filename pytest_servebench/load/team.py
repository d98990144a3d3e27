"""One load of several workers: orders, one start, what they say meanwhile, and their samples as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Watch
from pytest_servebench.load.clock_offset import (
    SAME_CLOCK,
    ClockOffset,
    Exchange,
    offset_from,
    over_a_load,
)
from pytest_servebench.load.gateways import Heard, WorkerGateway
from pytest_servebench.load.helm import Helm
from pytest_servebench.load.merging import Part, merged, shifted, shifted_slice
from pytest_servebench.load.orders import Order, Say, clock_identity
from pytest_servebench.load.shares import first_request
from pytest_servebench.load.steering import Steering, stages_steered
from pytest_servebench.load.telling import as_heard, heard_samples
from pytest_servebench.load.window import DRAIN_MARGIN_NS, Stage
from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint, Progress
from pytest_servebench.samples import Samples, Slice

PREPARE_S = 30.0
"""How long a worker may take in its requests, beyond the time-out within which its server must answer."""
SILENCE_S = 15.0
"""A worker that sends says so four times a second; after so long without a word it hangs."""
MARGIN_S = 15.0
"""How much longer than the load may take by its own limits the controller waits for its samples."""
STOP_S = 3.0
"""How long the others have to stop when one is lost, before they are killed."""
PONG_S = 5.0
PINGS = 10
LEAD_NS = 50_000_000
"""How far in the future the start lies when it is told."""
PROGRESS_NS = 200_000_000
_NS_PER_S = 1e9


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One worker in one load."""

    gateway: WorkerGateway
    share: Load
    at_rest: bool = True
    """Whether it waits for an order: it can be used again."""
    ready: bool = False
    lost: bool = False
    progress: Progress | None = None
    samples: Samples | None = None
    pongs: list[tuple[int, int]] = field(default_factory=list)
    """Its clock, and ours when it was heard."""
    heard_ns: int = 0
    before: ClockOffset = SAME_CLOCK

    @property
    def name(self) -> str:
        """Return its number and where it runs."""
        return self.gateway.name


class TeamRun:
    """One load of one team."""

    def __init__(
        self,
        number: int,
        team: Sequence[Member],
        heard: SimpleQueue[Heard],
        *,
        load: Load,
        watch: Watch,
        helm: Helm | None,
    ) -> None:
        self._number = number
        self._team = team
        self._heard = heard
        self._load = load
        self._watch = watch
        self._steered = stages_steered(load, helm)
        self._steering = Steering(load, len(team), helm)
        self._gone = False
        self._progress_ns = 0
        self._stage = ""

    def go(self, endpoint: Endpoint, requests: Sequence[WireRequest]) -> Samples:
        """Return the team's samples; raises `LoadError`, the members that can be used again at rest."""
        try:
            self._give_orders(endpoint, requests)
            self._await(lambda one: one.ready, PREPARE_S + self._load.timeout_s, "did not get ready")
            for member in self._team:
                member.before = self._offset_of(member)
            self._start()
            longest_s = self._load.warmup_s + self._load.duration_s + self._load.timeout_s
            longest_s += DRAIN_MARGIN_NS / _NS_PER_S + MARGIN_S
            self._await(lambda one: one.samples is not None, longest_s, "did not come to its end", SILENCE_S)
            return merged([self._part(member) for member in self._team])
        except LoadError:
            self._stop()
            raise

    def _give_orders(self, endpoint: Endpoint, requests: Sequence[WireRequest]) -> None:
        for number, member in enumerate(self._team):
            if member.gateway.ended:
                raise self._ended(member)
            order = Order(
                number=self._number,
                endpoint=endpoint,
                requests=tuple(requests),
                first_request=first_request(number, len(self._team), max(1, len(requests))),
                load=member.share,
                steered=self._steered,
            )
            member.at_rest, member.heard_ns = False, monotonic_ns()
            member.gateway.send_aside(*order.packed())

    def _start(self) -> None:
        """Name one instant to all, each in its own clock; far hosts hear of it later."""
        start_ns = monotonic_ns() + self._lead_ns()
        for member in self._team:
            member.heard_ns = start_ns
            member.gateway.send(Say.START.value, self._number, start_ns + member.before.offset_ns)

    def _lead_ns(self) -> int:
        """Return how long it takes at most until all have heard something."""
        return LEAD_NS + 4 * max(member.before.uncertainty_ns for member in self._team)

    def _steer(self, member: Member, stage: Stage, slices: Sequence[Slice], *, whole: bool) -> None:
        """Take in what a worker saw, and tell all when the stage ends, once that is decided."""
        ours = [shifted_slice(one, -member.before.offset_ns) for one in slices]
        self._steering.hear(self._team.index(member), stage, ours, whole=whole)
        stage, at_ns = self._steering.stage, self._steering.edge_ns(monotonic_ns(), self._lead_ns())
        if at_ns is not None:
            for one in self._team:
                one.gateway.send(Say.EDGE.value, self._number, stage.value, at_ns + one.before.offset_ns)

    def _part(self, member: Member) -> Part:
        """Return what a worker measured, in this clock."""
        assert member.samples is not None
        offset = over_a_load(member.before, self._offset_of(member))
        return Part(
            worker=member.name,
            samples=shifted(member.samples, -offset.offset_ns),
            clock_uncertainty_ns=offset.uncertainty_ns,
        )

    def _offset_of(self, member: Member) -> ClockOffset:
        """Return how far its clock is from ours: not at all on the same boot of one machine."""
        if member.gateway.clock and member.gateway.clock == clock_identity():
            return SAME_CLOCK
        return offset_from([self._exchange_with(member) for _ in range(PINGS)])

    def _exchange_with(self, member: Member) -> Exchange:
        member.pongs.clear()
        asked_ns = monotonic_ns()
        member.gateway.send(Say.PING.value, self._number)
        self._await(lambda one: one is not member or bool(one.pongs), PONG_S, "tells no time")
        told, answered_ns = member.pongs[0]
        return Exchange(asked_ns, told, answered_ns)

    def _await(
        self, done: Callable[[Member], bool], within_s: float, failure: str, silence_s: float = 1e6
    ) -> None:
        """Hear the team until all are ``done``; raises `LoadError` for the first that will not be."""
        until_ns = monotonic_ns() + round(within_s * _NS_PER_S)
        while waiting := [member for member in self._team if not done(member)]:
            quietest = min(waiting, key=lambda one: one.heard_ns)
            patience_ns = min(until_ns, quietest.heard_ns + round(silence_s * _NS_PER_S))
            try:
                heard = self._heard.get(timeout=max(0.0, (patience_ns - monotonic_ns()) / _NS_PER_S))
            except Empty:
                raise self._hung(quietest, failure) from None
            self._take(heard)

    def _take(self, heard: Heard) -> None:
        """Take in what a worker said; what belongs to an earlier load is of no use any more."""
        member = next((one for one in self._team if one.gateway is heard.worker), None)
        if member is None:
            return
        member.heard_ns = max(member.heard_ns, heard.at_ns)
        if heard.words is None:
            raise self._ended(member)
        word, number, *rest = heard.words
        if number == self._number:
            self._understand(member, Say(word), rest, heard)

    def _understand(self, member: Member, word: Say, rest: Sequence[Any], heard: Heard) -> None:
        if word is Say.READY:
            member.ready = True
        elif word is Say.PONG:
            member.pongs.append((rest[0], heard.at_ns))
        elif word is Say.PROGRESS:
            member.progress = Progress(**rest[0])
            self._show(heard.at_ns)
        elif word is Say.SLICES:
            stage, whole, slices = rest
            self._steer(member, Stage(stage), [as_heard(Slice, one) for one in slices], whole=whole)
        elif word is Say.TROUBLED:
            self._look_at_server()
        elif word is Say.SAMPLES:
            member.samples, member.at_rest = heard_samples(rest[0]), True
        elif word is Say.STOPPED:
            member.at_rest = True
        elif word is Say.FAILED:
            member.at_rest = True
            what, where, seen, next_step = rest
            raise LoadError(f"Worker {member.name}: {what}", where=where, seen=seen, next_step=next_step)

    def _look_at_server(self) -> None:
        """Ask whether the server is gone; if so, all end."""
        gone = None if self._gone else self._watch.server_gone()
        if gone is not None:
            self._gone = True
            for member in self._team:
                member.gateway.send(Say.GONE.value, self._number, gone)

    def _show(self, now_ns: int) -> None:
        told = [member.progress for member in self._team if member.progress is not None]
        if len(told) == len(self._team) and (now_ns >= self._progress_ns or told[0].stage != self._stage):
            self._progress_ns, self._stage = now_ns + PROGRESS_NS, told[0].stage
            self._watch.progress(sum_of(told))

    def _stop(self) -> None:
        """Have everybody at rest who can be, soon; what else goes wrong meanwhile is not the first cause."""
        for member in self._team:
            if not (member.at_rest or member.lost):
                member.gateway.send(Say.STOP.value, self._number)
        until_ns = monotonic_ns() + round(STOP_S * _NS_PER_S)
        with suppress(Empty):
            while any(not (member.at_rest or member.lost) for member in self._team):
                heard = self._heard.get(timeout=max(0.0, (until_ns - monotonic_ns()) / _NS_PER_S))
                with suppress(LoadError):
                    self._take(heard)

    def _ended(self, member: Member) -> LoadError:
        member.lost = True
        return LoadError(
            f"Worker {member.name} ended in the middle of the load.",
            where=member.gateway.spec,
            seen=member.gateway.fate(),
            next_step="see what ended it there (memory, a signal, the connection); "
            "the next case starts it anew",
        )

    def _hung(self, member: Member, failure: str) -> LoadError:
        member.lost = True
        silent_s = max(0, monotonic_ns() - member.heard_ns) / _NS_PER_S
        return LoadError(
            f"Worker {member.name} {failure}.",
            where=member.gateway.spec,
            seen=f"no word for {silent_s:.0f} s; {member.gateway.state()}",
            next_step="see whether its host and the way there still work; the next case starts it anew",
        )


def sum_of(told: Sequence[Progress]) -> Progress:
    """Return what a person sees of several workers: counts and rates added up, the worst p95 of all."""
    p95s_ms = [one.response_time_p95_ms for one in told if one.response_time_p95_ms is not None]
    return Progress(
        stage=told[0].stage,
        elapsed_s=max(one.elapsed_s for one in told),
        remaining_s=max(one.remaining_s for one in told),
        completed=sum(one.completed for one in told),
        errors=sum(one.errors for one in told),
        throughput_per_s=sum(one.throughput_per_s for one in told),
        response_time_p95_ms=max(p95s_ms, default=None),
    )
