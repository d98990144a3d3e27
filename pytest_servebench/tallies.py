"""Rows of requests become counts and distributions, so that they need not be kept (pure)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytest_servebench.histogram import Histogram
from pytest_servebench.results import Outcome, Tally

Instants = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def tally_of(
    intended_ns: Instants,
    sent_ns: Instants,
    received_ns: Instants,
    outcome: npt.NDArray[np.uint8],
    chosen: Mask,
    *,
    lagging: Mask | None = None,
) -> Tally:
    """Return the tally of the ``chosen`` rows, their send lags over ``lagging`` instead where that is given.

    Instants are nanoseconds, -1 where they did not happen, as in `results.Samples`.
    """
    correct = chosen & (outcome == Outcome.OK)
    received, intended, sent = received_ns[correct], intended_ns[correct], sent_ns[correct]
    response_times = Histogram.of(received - intended)
    # In a closed loop a request is intended the instant it is sent: the two are one distribution.
    same = np.array_equal(intended, sent)
    late = (chosen if lagging is None else lagging) & (sent_ns >= 0)
    return Tally(
        outcomes=outcomes_of(outcome[chosen]),
        response_times=response_times,
        service_times=response_times if same else Histogram.of(received - sent),
        send_lags=Histogram.of(sent_ns[late] - intended_ns[late]),
    )


def outcomes_of(outcome: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    """Return how many ended how, by `Outcome`."""
    return tuple(np.bincount(outcome, minlength=len(Outcome)).tolist())
