"""The course of a load on fake time: when stages go over, who says so, and what the time line then shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from pytest_servebench.load import course as course_module
from pytest_servebench.load import fold, sample_log
from pytest_servebench.load.book import Book
from pytest_servebench.load.course import Course
from pytest_servebench.load.helm import Helm
from pytest_servebench.plan import Load
from pytest_servebench.samples import Outcome, Samples, Slice
from pytest_servebench.statistics.slices import STEP_NS, window_slices
from pytest_servebench.statistics.summary import summarise
from tests.loads import Onlooker

S = 10**9
START = 50 * S
Sail = Callable[..., tuple[Samples, "PacedSender"]]
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"


@dataclass
class PacedSender:
    """Keeps one request in flight whose reply takes ``service_ns``, on a time that only it moves."""

    book: Book
    service_ns: int = 10_000_000
    now_ns: int = START
    troubled: bool = False
    resumed_ns: list[int] = field(default_factory=list)
    _sent_ns: int | None = None
    _stopped: bool = False

    @property
    def in_flight(self) -> int:
        return int(self._sent_ns is not None)

    def cpu_ns(self) -> int:
        return self.now_ns

    def turns(self, until_ns: int) -> None:
        while self._sent_ns is not None and self._sent_ns + self.service_ns <= until_ns:
            self.now_ns = self._sent_ns + self.service_ns
            self.book.correct(0, self._sent_ns, self.now_ns, REPLY)
            self._sent_ns = None if self._stopped else self.now_ns
        self.now_ns = max(self.now_ns, until_ns)

    def resume(self, now_ns: int) -> None:
        self.resumed_ns.append(now_ns)
        if self._sent_ns is None and not self._stopped:
            self._sent_ns = now_ns

    def stop(self) -> None:
        self._stopped = True

    def give_up_overdue(self, sent_until_ns: int, text: str) -> int | None:
        return None

    def abandon(self, text: str, outcome: Outcome) -> None:
        self._sent_ns = None


@dataclass
class ScriptedHelm:
    """Says the instants it is told to, once there are so many slices, and remembers what it was shown."""

    warm_after: int | None = None
    enough_after: int | None = None
    later_ns: int = 0
    shown: list[tuple[str, int]] = field(default_factory=list)

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        return self._say("warm-up", slices, now_ns, self.warm_after)

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        return self._say("window", slices, now_ns, self.enough_after)

    def _say(self, stage: str, slices: Sequence[Slice], now_ns: int, after: int | None) -> int | None:
        assert slices[-1].end_ns == now_ns
        self.shown.append((stage, len(slices)))
        return now_ns + self.later_ns if after is not None and len(slices) >= after else None


@pytest.fixture
def sail(monkeypatch: pytest.MonkeyPatch) -> Sail:
    """Return a function that runs a load on fake time."""

    def run(
        load: Load, helm: Helm | None = None, service_ns: int = 10_000_000
    ) -> tuple[Samples, PacedSender]:
        book = Book.for_load(load, 1)
        sender = PacedSender(book, service_ns)
        monkeypatch.setattr(course_module, "monotonic_ns", lambda: sender.now_ns)
        course = Course(sender, load, Onlooker(), book, helm)
        return book.samples(course.run(), course.slices), sender

    return run


def test_without_a_wish_a_load_has_its_own_times(sail: Sail) -> None:
    """A fixed warm-up and a fixed duration are kept, in slices of a tenth of a second."""
    samples, sender = sail(Load(warmup_s=1.0, duration_s=2.0))
    assert (samples.started_ns, samples.window_ns) == (START, (START + S, START + 3 * S))
    assert samples.settled is None
    assert [one.end_ns - one.begin_ns for one in samples.slices] == [STEP_NS] * 30
    assert len(window_slices(samples)) == 20
    assert sum(one.correct for one in window_slices(samples)) == 200
    assert sender.resumed_ns[0] == START, "a schedule begins with the load"


def test_a_steady_warm_up_ends_when_it_has_settled(sail: Sail) -> None:
    """It goes over into the window without draining: replies go on across the edge."""
    samples, _ = sail(Load(warmup_s=10.0, duration_s=1.0, steady=True))
    assert samples.settled is True
    begin, end = samples.window_ns
    assert begin - START == 1_500_000_000
    assert end - begin == S
    assert summarise(samples, items_per_request=1, timeout_s=30).warmup_s == 1.5
    assert [one.correct for one in samples.slices] == [10] * 25


def test_a_warm_up_that_does_not_settle_says_so(sail: Sail) -> None:
    """Its limit ends it, and the result does not hide that."""
    samples, _ = sail(Load(warmup_s=2.0, duration_s=1.0, steady=True), service_ns=300_000_000)
    assert samples.settled is False
    assert samples.window_ns[0] == START + 2 * S


def test_a_precise_window_ends(sail: Sail) -> None:
    """Figures that are known well enough need no more time."""
    samples, _ = sail(Load(warmup_s=0.5, duration_s=60.0, precision=0.05))
    begin, end = samples.window_ns
    assert (begin - START, end - begin) == (S // 2, 2 * S)


def test_the_helm_may_name_a_later_instant(sail: Sail) -> None:
    """As a controller of several clients does, who must all go over at once; a slice ends there too."""
    helm = ScriptedHelm(warm_after=3, enough_after=4, later_ns=50_000_000)
    samples, _ = sail(Load(warmup_s=5.0, duration_s=5.0, steady=True), helm)
    assert samples.settled is True
    assert samples.window_ns == (START + 350_000_000, START + 350_000_000 + 450_000_000)
    assert helm.shown[:3] == [("warm-up", 1), ("warm-up", 2), ("warm-up", 3)]
    assert helm.shown[-1] == ("window", 5)
    assert samples.slices[3].end_ns == samples.slices[4].begin_ns == samples.window_ns[0]


def test_the_helm_cannot_lengthen_a_stage(sail: Sail) -> None:
    """Whatever it says, the limits of time hold."""
    helm = ScriptedHelm(warm_after=1, enough_after=1, later_ns=3600 * S)
    samples, _ = sail(Load(warmup_s=1.0, duration_s=1.0, steady=True), helm)
    assert samples.window_ns == (START + S, START + 2 * S)
    assert samples.settled is False


def test_a_long_load_is_folded_and_summarised_as_a_whole(sail: Sail, monkeypatch: pytest.MonkeyPatch) -> None:
    """12,000 replies of which 500 rows are held: every one of the window is in its figures."""
    monkeypatch.setattr(sample_log, "CHUNK_ROWS", 64)
    monkeypatch.setattr(fold, "BOUND_ROWS", 256)
    samples, _ = sail(Load(warmup_s=20.0, duration_s=100.0, verify_share=0.0))
    assert samples.folded is not None
    assert len(samples) < 500
    assert len(samples) + samples.folded.requests == 12_001  # the last one ended in the drain
    summary = summarise(samples, items_per_request=1, timeout_s=30)
    assert (summary.correct, summary.throughput_per_s) == (10_000, 100.0)
    assert summary.response_time_p95_ms == pytest.approx(10.0, rel=1e-3)
    assert 300 <= len(samples.slices) <= 600
    assert sum(one.correct for one in samples.slices) == 12_000
