"""The stages of a load: warm-up goes over into measurement without draining, then what is in flight ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from pytest_servebench.load.sample_log import SampleLog
from pytest_servebench.plan import Load
from pytest_servebench.results import Progress

DRAIN_MARGIN_NS = 50_000_000
"""More than a tick, so that the last request's own time-out comes before the end of the drain."""
_PROGRESS_MARKS = 5


class Stage(Enum):
    """Where a load stands."""

    WARM_UP = "warm-up"
    MEASURING = "measuring"
    DRAINING = "draining"


class Window:
    """Turns instants into stages, and measures the CPU time between the window's edges.

    The load ends by itself at ``start + warmup_s + duration_s`` plus a drain of at most
    ``timeout_s``, whatever the server does: what is in flight at the window's end gets the
    time that every request has, so that a slow server is not taken for one that hangs.
    """

    def __init__(self, load: Load, start_ns: int, cpu_ns: Callable[[], int]) -> None:
        self.stage = Stage.WARM_UP
        self.start_ns = start_ns
        self.begin_ns = start_ns
        self.end_ns = start_ns
        self.client_cpu_s = 0.0
        self.settled: bool | None = False if load.steady else None
        """Whether the warm-up ended because somebody said so; None: nobody was asked to."""
        self.duration_ns = round(load.duration_s * 1e9)
        self.edge_ns = start_ns + round(load.warmup_s * 1e9)
        """When the next stage begins."""
        self._drain_ns = round(load.timeout_s * 1e9) + DRAIN_MARGIN_NS
        self._cpu_ns = cpu_ns
        self._cpu_begin_ns = cpu_ns()

    def go_over(self, at_ns: int) -> None:
        """Let the next stage begin at this instant, if its own time does not come first."""
        if at_ns <= self.edge_ns:
            self.edge_ns = at_ns
            self.settled = True if self.stage is Stage.WARM_UP else self.settled

    def begin(self, now_ns: int) -> None:
        """Go over from warm-up to measurement."""
        self.stage = Stage.MEASURING
        self.begin_ns = now_ns
        self.edge_ns = now_ns + self.duration_ns
        self._cpu_begin_ns = self._cpu_ns()

    def end(self, now_ns: int) -> None:
        """Go over to the drain. A load cut short in its warm-up has its whole length as its window."""
        self.stage = Stage.DRAINING
        self.end_ns = now_ns
        self.edge_ns = now_ns + self._drain_ns
        self.client_cpu_s = (self._cpu_ns() - self._cpu_begin_ns) / 1e9


class ProgressMeter:
    """Turns the sample log's running counts into what a person watching sees."""

    def __init__(self, load: Load) -> None:
        self._duration_s = load.duration_s
        self._marks: deque[tuple[int, int]] = deque(maxlen=_PROGRESS_MARKS)

    def read(self, window: Window, log: SampleLog, now_ns: int) -> Progress:
        """Return the progress at ``now_ns``; throughput is that of about the last second."""
        correct, warming = log.correct, window.stage is Stage.WARM_UP
        draining = window.stage is Stage.DRAINING
        self._marks.append((now_ns, correct))
        since_ns, before = self._marks[0]
        elapsed_s = (now_ns - window.start_ns) / 1e9
        span_s, left_s = (now_ns - since_ns) / 1e9, (window.edge_ns - now_ns) / 1e9
        return Progress(
            stage=window.stage.value,
            elapsed_s=elapsed_s,
            remaining_s=0.0 if draining else max(0.0, left_s + self._duration_s * warming),
            completed=correct,
            errors=log.errors,
            throughput_per_s=(correct - before) / span_s if span_s else 0.0,
            response_time_p95_ms=log.recent_p95_ms(),
        )
