"""A distribution of times in bounded memory: HdrHistogram's buckets over nanoseconds (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

SIGNIFICANT_DIGITS = 3
LOWEST_NS = 1
"""A lower unit than the usual microsecond: else 0.1% would not hold for the times of a fast server."""
HIGHEST_NS = 86_400 * 10**9
"""A day; longer times lie in the last bucket, their extremes and sum stay exact."""

_HALF_BITS = 10
_HALF = 1 << _HALF_BITS
"""Buckets per octave: 3 digits need 2,000 within the first 2,048 ns, half as many in each octave after."""
_MANTISSA_BITS = 52
_EXPONENT_BIAS = 1023
_FIRST_OCTAVE = (_EXPONENT_BIAS + _HALF_BITS - 1) << _HALF_BITS


def _none() -> Integers:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often times of which length occurred; made by `of`, by ``+`` or by `decoded`.

    The buckets are HdrHistogram's (Gil Tene, hdrhistogram.org) for 1 ns to a day at 3
    significant digits: exact below 2,048 ns, then 1,024 to an octave. Only buckets that hold
    something take memory. Count, sum, least and most are exact.
    """

    buckets: Integers = field(default_factory=_none)
    """Numbers of the buckets that hold something, ascending."""
    counts: Integers = field(default_factory=_none)
    """How much each of ``buckets`` holds, at least 1."""
    count: int = 0
    sum_ns: int = 0
    min_ns: int | None = None
    max_ns: int | None = None

    @classmethod
    def of(cls, times_ns: npt.NDArray[np.int64]) -> Histogram:
        """Return the histogram of ``times_ns``, in any order, 0 and above."""
        if not len(times_ns):
            return cls()
        numbers, least, most = buckets_of(times_ns), int(times_ns.min()), int(times_ns.max())
        first = _bucket_of(least)
        held = np.bincount(numbers - first)
        buckets = np.flatnonzero(held)
        return cls(buckets + first, held[buckets], len(times_ns), int(times_ns.sum()), least, most)

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Histogram:
        """Return the histogram of all their times together: what recording them into one would have given."""
        parts = [one for one in histograms if one.count]
        if len(parts) < 2:  # noqa: PLR2004 (one is its own sum)
            return parts[0] if parts else cls()
        first = min(int(one.buckets[0]) for one in parts)
        held = np.zeros(max(int(one.buckets[-1]) for one in parts) - first + 1, dtype=np.int64)
        for one in parts:
            held[one.buckets - first] += one.counts
        buckets = np.flatnonzero(held)
        return cls(
            buckets + first,
            held[buckets],
            sum(one.count for one in parts),
            sum(one.sum_ns for one in parts),
            min(one.min_ns for one in parts if one.min_ns is not None),
            max(one.max_ns for one in parts if one.max_ns is not None),
        )

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram.merged((self, other))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return (
            (self.count, self.sum_ns, self.min_ns, self.max_ns)
            == (other.count, other.sum_ns, other.min_ns, other.max_ns)
            and np.array_equal(self.buckets, other.buckets)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]  # how Python says that it has none

    @property
    def mean_ns(self) -> float | None:
        """The exact mean; None without a time."""
        return self.sum_ns / self.count if self.count else None

    def percentile(self, rank: float) -> float | None:
        """Return the percentile in nanoseconds, rank from 0 to 100; None without a time.

        Interpolated linearly between order statistics as `numpy.percentile` does, each of
        which is known to half a bucket: 0.05%.
        """
        if not self.count:
            return None
        return float(self.percentiles([rank])[0])

    def percentiles(self, ranks: Iterable[float]) -> npt.NDArray[np.float64]:
        """Return several percentiles; there must be a time."""
        places = (self.count - 1) * np.fromiter(ranks, dtype=np.float64) / 100
        lower = np.floor(places)
        below, above = self._ordered(lower), self._ordered(np.ceil(places))
        found: npt.NDArray[np.float64] = below + (above - below) * (places - lower)
        return found

    def count_above(self, time_ns: float) -> int:
        """Return how many times lie in buckets above the one of ``time_ns``."""
        return int(self.counts[np.searchsorted(self.buckets, _bucket_of(time_ns), side="right") :].sum())

    def counts_above(self, times_ns: npt.NDArray[np.float64]) -> Integers:
        """Return `count_above` for several times."""
        up_to = np.searchsorted(self.buckets, buckets_of(times_ns.astype(np.int64)), side="right")
        above: Integers = self.count - np.append(0, np.cumsum(self.counts))[up_to]
        return above

    def order_statistic(self, place: int) -> float:
        """Return the time at this place in ascending order, from 0 to count - 1."""
        return float(self._ordered(np.array([float(place)]))[0])

    def _ordered(self, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the times at these whole places: bucket middles, and the exact extremes at both ends."""
        assert self.min_ns is not None
        assert self.max_ns is not None
        at = np.searchsorted(np.cumsum(self.counts), places, side="right")
        middles = np.clip(_middles(self.buckets[at]), self.min_ns, self.max_ns)
        middles[places <= 0] = self.min_ns
        middles[places >= self.count - 1] = self.max_ns
        return middles

    def encoded(self) -> str:
        """Return it as HdrHistogram V2, compressed, in base64: what any HdrHistogram tool reads."""
        from hdrh.histogram import HdrHistogram

        theirs = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
        if self.count:
            np.frombuffer(theirs.counts, dtype=np.uint64)[self.buckets] = self.counts
            theirs.total_count = self.count
            theirs.min_value, theirs.max_value = (int(x) for x in _edges(self.buckets[[0, -1]])[0])
        return bytes(theirs.encode()).decode("ascii")

    @classmethod
    def decoded(cls, text: str) -> Histogram:
        """Return the histogram in ``text``: the same buckets; extremes and sum to within their buckets.

        Raises ValueError when it has another unit or other digits than ours.
        """
        from hdrh.histogram import HdrHistogram

        theirs = HdrHistogram.decode(text.encode("ascii"))
        layout = (theirs.lowest_trackable_value, theirs.significant_figures)
        if layout != (LOWEST_NS, SIGNIFICANT_DIGITS):
            raise ValueError(f"a histogram of another layout: unit and digits are {layout}")
        held = np.frombuffer(theirs.counts, dtype=np.uint64).astype(np.int64)
        buckets = np.flatnonzero(held)
        if not len(buckets):
            return cls()
        low, high = _edges(buckets)
        counts = held[buckets]
        sum_ns = round(float(np.dot(_middles(buckets), counts)))
        return cls(buckets, counts, int(counts.sum()), sum_ns, int(low[0]), int(high[-1]))


class Recorder:
    """A histogram in the making: takes times array by array, a fifth of a megabyte whatever it holds."""

    def __init__(self) -> None:
        self._held = np.zeros(_bucket_of(HIGHEST_NS) + 1, dtype=np.int64)
        self._total = Histogram()

    def record(self, times_ns: npt.NDArray[np.int64]) -> None:
        """Count ``times_ns``; some 5 microseconds for a thousand."""
        if not len(times_ns):
            return
        least, most, before = int(times_ns.min()), int(times_ns.max()), self._total
        first = _bucket_of(least)
        held = np.bincount(buckets_of(times_ns) - first)
        self._held[first : first + len(held)] += held
        self._total = Histogram(
            count=before.count + len(times_ns),
            sum_ns=before.sum_ns + int(times_ns.sum()),
            min_ns=least if before.min_ns is None else min(least, before.min_ns),
            max_ns=most if before.max_ns is None else max(most, before.max_ns),
        )

    def histogram(self) -> Histogram:
        """Return what was recorded so far."""
        buckets = np.flatnonzero(self._held)
        return replace(self._total, buckets=buckets, counts=self._held[buckets])


def buckets_of(times_ns: npt.NDArray[np.int64]) -> Integers:
    """Return the number of each time's bucket, as HdrHistogram counts them.

    A float's bits above the 42nd are its exponent and the 10 highest digits after its
    leading one: above 1,024 ns that is the number of the bucket, but for a constant.
    """
    bounded = np.minimum(times_ns, HIGHEST_NS).astype(np.float64)
    numbers: Integers = (bounded.view(np.int64) >> (_MANTISSA_BITS - _HALF_BITS)) - _FIRST_OCTAVE
    short = bounded < _HALF
    if short.any():
        numbers[short] = np.maximum(bounded[short], 0.0).astype(np.int64)
    return numbers


def _bucket_of(time_ns: float) -> int:
    return int(buckets_of(np.array([time_ns], dtype=np.int64))[0])


def _edges(buckets: Integers) -> tuple[Integers, Integers]:
    """Return the least and the greatest whole nanosecond of each bucket."""
    octave = np.maximum((buckets >> _HALF_BITS) - 1, 0)
    low = np.where(octave > 0, (buckets & (_HALF - 1)) + _HALF, buckets) << octave
    return low, low + (np.int64(1) << octave) - 1


def _middles(buckets: Integers) -> npt.NDArray[np.float64]:
    low, high = _edges(buckets)
    middles: npt.NDArray[np.float64] = (low + high) / 2
    return middles
