"""How much memory a load takes by its length: many requests through a sender that only pretends to send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import psutil
from rich.table import Table

from benchmarks.client.measuring import ROOT
from pytest_servebench.clock import monotonic_ns, thread_cpu_ns
from pytest_servebench.load.book import Book
from pytest_servebench.load.course import Course
from pytest_servebench.load.kept import MASK_ROWS
from pytest_servebench.load.sample_log import OUTCOME_BITS
from pytest_servebench.plan import Load
from pytest_servebench.results import Progress
from pytest_servebench.samples import Outcome, Samples, Slice
from pytest_servebench.statistics.distributions import histogram_facts, timeline_facts
from pytest_servebench.statistics.summary import summarise

SIZES = (1_000_000, 10_000_000)
AIM_BYTES = 50_000_000
"""What the longest load may take more than the shortest."""
TURN = 500
"""Requests that end between two looks at the clock."""
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """One load in a process of its own."""

    requests: int
    seconds: float
    resident_bytes: int
    """After the summary and the record, with the samples still there."""
    peak_bytes: int
    folded: int
    """Requests that were folded."""
    slices: int
    kept: int
    """Replies kept for verification."""

    def per_request_us(self) -> float:
        """Return what a pretended request took: the log, the slices and the folding."""
        return self.seconds / self.requests * 1e6


class PretendSender:
    """Satisfies `load.course.Sender`: every request is answered, after log-normal times of about 0.1 ms."""

    def __init__(self, book: Book, requests: int) -> None:
        self.troubled = False
        self._book = book
        self._left = requests
        self._times_ns = np.random.default_rng(0).lognormal(11.5, 0.4, 1 << 16).astype(np.int64).tolist()
        self._row = 0

    @property
    def done(self) -> bool:
        """Whether all requests have ended."""
        return self._left <= 0

    @property
    def in_flight(self) -> int:
        """None: each ends before it is written down."""
        return 0

    def cpu_ns(self) -> int:
        """Return the CPU time of this thread."""
        return thread_cpu_ns()

    def turns(self, until_ns: int) -> None:
        """Write down replies as the real sender's fast path does, until then."""
        add, kept, mask = self._book.log.add, self._book.kept, self._book.kept.mask
        times_ns, many = self._times_ns, len(self._times_ns)
        while (now_ns := monotonic_ns()) < until_ns and self._left > 0:
            for _ in range(TURN):
                sent_ns = now_ns - times_ns[self._row % many]
                self._row += 1
                row = add(sent_ns, sent_ns, now_ns, 0 << OUTCOME_BITS)
                if now_ns >= kept.due_ns or mask[row % MASK_ROWS]:
                    kept.offer(row, 0, now_ns, bytes(bytearray(REPLY)))
            self._left -= TURN

    def resume(self, now_ns: int) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""
        self._left = 0

    def give_up_overdue(self, sent_until_ns: int, text: str) -> int | None:
        """Nothing is overdue."""

    def abandon(self, text: str, outcome: Outcome) -> None:
        """Nothing is in flight."""


class _UntilDone:
    """A helm that ends the window with the last request."""

    def __init__(self, sender: PretendSender) -> None:
        self._sender = sender

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        return None

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        return now_ns if self._sender.done else None


class _Nobody:
    """A watch that does not look."""

    def progress(self, progress: Progress) -> None:
        pass

    def server_gone(self) -> str | None:
        return None


def pretend(requests: int) -> Samples:
    """Return the samples of a load of so many requests."""
    load = Load(warmup_s=0.0, duration_s=3600.0)
    book = Book.for_load(load, 1)
    sender = PretendSender(book, requests)
    course = Course(sender, load, _Nobody(), book, _UntilDone(sender))
    return book.samples(course.run(), course.slices)


def footprint(requests: int) -> Footprint:
    """Return what a load of so many requests takes in this process, up to its record."""
    samples = pretend(requests)
    summary = summarise(samples, items_per_request=1, timeout_s=30.0)
    text = json.dumps([histogram_facts(samples, publishable=True), timeline_facts(samples, publishable=True)])
    assert summary.correct == requests
    assert text
    memory = psutil.Process().memory_info()
    return Footprint(
        requests=requests,
        seconds=summary.window_s,
        resident_bytes=memory.rss,
        peak_bytes=_peak_bytes(),
        folded=samples.folded.requests if samples.folded else 0,
        slices=len(samples.slices),
        kept=len(samples.replies),
    )


def footprints(sizes: Sequence[int] = SIZES) -> list[Footprint]:
    """Return the footprint of each size, in a process of its own."""
    return [_elsewhere(requests) for requests in sizes]


def memory_table(found: Sequence[Footprint]) -> Table:
    """Return the table of footprints."""
    table = Table("requests", "folded", "slices", "replies kept", "resident, MB", "peak, MB", "us a request")
    for one in found:
        figures = (one.requests, one.folded, one.slices, one.kept)
        table.add_row(
            *(f"{figure:,}" for figure in figures),
            f"{one.resident_bytes / 1e6:.1f}",
            f"{one.peak_bytes / 1e6:.1f}",
            f"{one.per_request_us():.2f}",
        )
    return table


def growth_line(found: Sequence[Footprint]) -> str:
    """Return how much more the longest takes than the shortest, and whether that meets the aim."""
    grown = [getattr(found[-1], name) - getattr(found[0], name) for name in ("resident_bytes", "peak_bytes")]
    met = "met" if max(grown) < AIM_BYTES else "missed"
    resident, peak = (f"{bytes_ / 1e6:+.1f} MB" for bytes_ in grown)
    return f"growth: resident {resident}, peak {peak}; aim below {AIM_BYTES / 1e6:.0f} MB: {met}"


def _elsewhere(requests: int) -> Footprint:
    command = [sys.executable, "-m", "benchmarks.client.memory", str(requests)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True)
    return Footprint(**json.loads(done.stdout))


def _peak_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 (no path of ours)
        peak = next(line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(footprint(int(sys.argv[1])))))
