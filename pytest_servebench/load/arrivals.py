"""Schedules: arrivals and a seed become offsets in nanoseconds, in chunks, so that long loads do not grow.

Every schedule begins at 0 or later, never goes back, and meets its rate: up to any instant
it has as many arrivals as the rate integrates to, to within one (random ones in the mean).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pytest_servebench.arrivals import Arrivals, Constant, Listed, Poisson, Share, Staged
from pytest_servebench.errors import LoadError, PlanError

Offsets: TypeAlias = npt.NDArray[np.int64]
"""Nanoseconds from the start of the load, in order."""
Counts: TypeAlias = npt.NDArray[np.float64]
"""How many arrivals lie before an instant, not whole: the rate's integral."""

CHUNK = 1024
"""Offsets made at once: some 40 microseconds of work between two sends."""
_NS_PER_S = 1e9
_STREAM = 1
"""Keeps the draws of a seed apart from those that choose which replies are kept."""
_LIST = "one offset in seconds a line, or a JSON list of them"


def schedule(arrivals: Arrivals, seed: int, chunk: int = CHUNK) -> Iterator[Offsets]:
    """Return the offsets of ``arrivals`` in chunks; endless where the arrivals are.

    The same seed gives the same schedule, whatever the chunks. Pure, but for a replay, which
    reads its file now; raises `LoadError` or `PlanError` when that is not what it was.
    """
    if isinstance(arrivals, Constant):
        return _paced(_even(chunk), arrivals.per_s)
    if isinstance(arrivals, Poisson):
        return _paced(_random(seed, chunk), arrivals.per_s)
    if isinstance(arrivals, Staged):
        if arrivals.peak_share is not None:
            raise LoadError(
                "The rates of these stages are not known before a capacity was measured.",
                seen=str(arrivals),
                next_step="use Staged.at_capacity, or measure the case with servebench.measure",
            )
        return _staged(_random(seed, chunk) if arrivals.random else _even(chunk), arrivals)
    if isinstance(arrivals, Share):
        return _every(schedule(arrivals.whole, seed, chunk), arrivals.first, arrivals.every)
    if isinstance(arrivals, Listed):
        return _chunked(np.array(arrivals.offsets_ns, dtype=np.int64), chunk)
    try:
        text = arrivals.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(
            "The trace to replay cannot be read any more.",
            where=str(arrivals.path),
            seen=str(error),
            next_step="leave the file where it is until the run has ended",
        ) from error
    return _chunked(parse_offsets(text, str(arrivals.path)), chunk)


LONGEST_S = 7 * 86_400.0
"""A trace's last offset at most: a week."""


def parse_offsets(text: str, name: str) -> Offsets:
    """Return the offsets in ``text``: seconds, one a line, or a JSON list of numbers.

    Empty lines and lines that begin with ``#`` do not count. Raises `PlanError` with the
    line (or the place in the list) of what is no number, below 0, or before its predecessor.
    """
    rows = _rows_of_list(text, name) if text.lstrip().startswith("[") else _rows_of_lines(text)
    if not rows:
        raise PlanError(f"{name} holds no offsets", next_step="one offset in seconds a line, or a JSON list")
    before_s = 0.0
    for place, given in rows:
        seconds = _seconds(given)
        if not before_s <= seconds <= LONGEST_S:
            raise PlanError(
                f"{name} has an offset that is no number of seconds from {before_s:g} on",
                where=f"{name}, {place}",
                seen=repr(given),
                next_step=f"offsets are seconds from the start, in order, at most {LONGEST_S:g}",
            )
        before_s = seconds
    offsets: Offsets = np.rint(np.array([_seconds(given) for _, given in rows]) * _NS_PER_S).astype(np.int64)
    return offsets


def expected_count(arrivals: Staged, at_s: float) -> float:
    """Return the integral of a staged rate from the start to ``at_s``: the arrivals until then."""
    ramps = _Ramps(arrivals)
    return float(ramps.counts_until(np.array([at_s]))[0])


def _even(chunk: int) -> Iterator[Counts]:
    """Yield 0, 1, 2 ...: arrival number k begins when the rate has integrated to k."""
    first = 0
    while True:
        yield np.arange(first, first + chunk, dtype=np.float64)
        first += chunk


def _random(seed: int, chunk: int) -> Iterator[Counts]:
    """Yield the arrivals of a Poisson process of rate 1: sums of independent exponential gaps."""
    source = np.random.default_rng((seed, _STREAM))
    last = 0.0
    while True:
        gaps = source.exponential(size=chunk)
        gaps[0] += last  # summed in order, so that the chunks' borders leave no trace
        counts = np.cumsum(gaps)
        last = float(counts[-1])
        yield counts


def _paced(counts: Iterator[Counts], per_s: float) -> Iterator[Offsets]:
    for chunk in counts:
        yield np.rint(chunk * (_NS_PER_S / per_s)).astype(np.int64)


def _staged(counts: Iterator[Counts], arrivals: Staged) -> Iterator[Offsets]:
    ramps = _Ramps(arrivals)
    for chunk in counts:
        inside = chunk[chunk < ramps.total]
        if len(inside):
            yield np.rint(ramps.instants_s(inside) * _NS_PER_S).astype(np.int64)
        if len(inside) < len(chunk):
            return


class _Ramps:
    """A piecewise linear rate r(t), its integral, and the inverse of that, all exact.

    The k-th arrival is where the integral of the rate reaches k; k6's ramping-arrival-rate
    spaces its iterations by the same rule (grafana/k6 issue 1299). Applied to a Poisson
    process of rate 1 it gives one of rate r(t): E. Cinlar, Introduction to Stochastic
    Processes, 1975, section 4.7.
    """

    def __init__(self, arrivals: Staged) -> None:
        rates = [arrivals.start_per_s, *(stage.per_s for stage in arrivals.stages)]
        long = np.array([stage.duration_s for stage in arrivals.stages])
        lasting = long > 0  # a stage without length is a jump: only the next one's first rate tells of it
        self._from, self._to = (np.array(part)[lasting] for part in (rates[:-1], rates[1:]))
        self._long = long[lasting]
        self._begin_s = np.concatenate([[0.0], np.cumsum(self._long)])
        self._before = np.concatenate([[0.0], np.cumsum((self._from + self._to) / 2 * self._long)])
        self._slope = (self._to - self._from) / self._long
        self.total = float(self._before[-1])
        """Arrivals in all."""

    def counts_until(self, instants_s: Counts) -> Counts:
        """Return the integral of the rate up to each instant."""
        last = len(self._long) - 1
        at = np.clip(np.searchsorted(self._begin_s, instants_s, side="right") - 1, 0, last)
        inside = np.clip(instants_s - self._begin_s[at], 0.0, self._long[at])
        counts: Counts = self._before[at] + inside * (self._from[at] + self._slope[at] * inside / 2)
        return counts

    def instants_s(self, counts: Counts) -> Counts:
        """Return when the integral reaches each of ``counts``, all below `total`.

        Solves ``slope / 2 * t**2 + from * t = count`` in the form that loses no digits when
        the slope is small. Stages of rate 0 are passed over: nobody arrives in them.
        """
        at = np.searchsorted(self._before, counts, side="right") - 1
        left = counts - self._before[at]
        root = np.sqrt(np.maximum(self._from[at] ** 2 + 2 * self._slope[at] * left, 0.0))
        divisor = self._from[at] + root
        inside = np.divide(2 * left, divisor, out=np.zeros_like(left), where=divisor > 0)
        instants: Counts = self._begin_s[at] + np.minimum(inside, self._long[at])
        return instants


def _every(chunks: Iterator[Offsets], first: int, every: int) -> Iterator[Offsets]:
    """Yield every ``every``-th offset, counted over all chunks, beginning with number ``first``."""
    for chunk in chunks:
        yield chunk[first::every]
        first = (first - len(chunk)) % every if first < len(chunk) else first - len(chunk)


def _chunked(offsets: Offsets, chunk: int) -> Iterator[Offsets]:
    return (offsets[at : at + chunk] for at in range(0, len(offsets), chunk))


def _rows_of_lines(text: str) -> list[tuple[str, object]]:
    lines = enumerate((line.strip() for line in text.splitlines()), start=1)
    return [(f"line {number}", line) for number, line in lines if line and not line.startswith("#")]


def _rows_of_list(text: str, name: str) -> list[tuple[str, object]]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise PlanError(f"{name} is not a JSON list", seen=str(error), next_step=_LIST) from error
    except RecursionError as error:
        raise PlanError(
            f"{name} is not a JSON list", seen="lists nested too deeply", next_step=_LIST
        ) from error
    return [(f"number {number} of the list", one) for number, one in enumerate(given, start=1)]


def _seconds(given: object) -> float:
    """Return the number, or NaN, which is in no order with anything."""
    if isinstance(given, bool) or not isinstance(given, (int, float, str)):
        return float("nan")
    try:
        return float(given)
    except ValueError:
        return float("nan")
