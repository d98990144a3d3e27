"""Whether few enough requests missed a limit to say that it holds, or more that it does not (pure).

MLPerf LoadGen's early stopping (``loadgen/early_stopping.cc`` of mlcommons/inference; its rules
call c the confidence, and their tolerance d is 0 here): with ``missed`` among ``of`` requests, a
limit that a share s may miss holds when P[Bin(of, s) <= missed] <= 1 - c, that is when so few
would be a rare accident if the true share were s; it does not hold when P[Bin(of, s) >= missed]
<= 1 - c; and in between nothing is said yet.

The test takes requests for independent samples. Queueing breaks that, because those behind a slow
request are slow too, so a short run is judged too surely: a run that lasts has the last word.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_servebench.words import Word

CONFIDENCE = 0.99
MOST_REQUESTS = 1 << 40
"""Beyond this nobody waits."""


class Finding(Word):
    """What the requests so far say of a limit."""

    PASS = "pass"  # noqa: S105 (a finding, no secret)
    FAIL = "fail"
    UNDECIDED = "undecided"


def finding_of(missed: int, of: int, miss_share: float, confidence: float = CONFIDENCE) -> Finding:
    """Return what ``missed`` among ``of`` requests say of a limit that ``miss_share`` may miss.

    A share of 0 allows no miss, and no number of requests proves it: it holds while none is missed.
    """
    if not of:
        return Finding.UNDECIDED
    if miss_share <= 0:
        return Finding.FAIL if missed else Finding.PASS
    at_most, at_least = _chances(missed, of, miss_share)
    if at_most <= 1 - confidence:
        return Finding.PASS
    return Finding.FAIL if at_least <= 1 - confidence else Finding.UNDECIDED


def requests_to_pass(missed: int, miss_share: float, confidence: float = CONFIDENCE) -> int:
    """Return the fewest requests among which ``missed`` misses still pass.

    Minus those already seen it is how many more are needed, if none of them misses.
    """
    if miss_share <= 0 or miss_share >= 1:
        return max(1, missed + 1)
    return _first(lambda of: _chances(missed, of, miss_share)[0] <= 1 - confidence, missed + 1)


def requests_to_decide(missed: int, of: int, miss_share: float, confidence: float = CONFIDENCE) -> int | None:
    """Return about how many requests decide, if the share of misses stays as seen; at least ``of``.

    None when even `MOST_REQUESTS` would not: the share seen is the one allowed.
    """
    seen = missed / max(1, of)

    def decided(count: int) -> bool:
        return finding_of(round(seen * count), count, miss_share, confidence) is not Finding.UNDECIDED

    if decided(max(1, of)):
        return max(1, of)
    return _first(decided, of) if decided(MOST_REQUESTS) else None


def _chances(missed: int, of: int, miss_share: float) -> tuple[float, float]:
    """Return the probabilities of at most, and of at least, so many misses."""
    from scipy.stats import binom

    return float(binom.cdf(missed, of, miss_share)), float(binom.sf(missed - 1, of, miss_share))


def _first(true_from: Callable[[int], bool], least: int) -> int:
    """Return the first number from ``least`` for which ``true_from`` is true, and stays so."""
    high = max(1, least)
    while not true_from(high):
        high *= 2
    low = max(least, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if true_from(middle) else (middle + 1, high)
    return high
