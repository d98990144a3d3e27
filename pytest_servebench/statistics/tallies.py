"""Rows of requests become counts and distributions, so that they need not be kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytest_servebench.samples import Outcome, Tally
from pytest_servebench.statistics.histogram import Recorder

Instants = npt.NDArray[np.int64]
Outcomes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class TallySheet:
    """A tally in the making: takes rows array by array.

    Instants are nanoseconds, -1 where they did not happen, as in `samples.Samples`.
    """

    def __init__(self) -> None:
        self._outcomes = np.zeros(len(Outcome), dtype=np.int64)
        self._response_times, self._service_times, self._send_lags = Recorder(), Recorder(), Recorder()

    def ended(
        self, intended_ns: Instants, sent_ns: Instants, received_ns: Instants, outcome: Outcomes
    ) -> None:
        """Count how these rows ended, and the response and service times of the correct ones."""
        self._outcomes += np.bincount(outcome, minlength=len(Outcome))
        if outcome.any():  # OK is 0
            correct = outcome == Outcome.OK
            intended_ns, sent_ns, received_ns = intended_ns[correct], sent_ns[correct], received_ns[correct]
        self._response_times.record(received_ns - intended_ns)
        self._service_times.record(received_ns - sent_ns)

    def begun(self, intended_ns: Instants, sent_ns: Instants) -> None:
        """Take the send lags of these rows, as far as they were sent."""
        lags_ns = sent_ns - intended_ns
        self._send_lags.record(lags_ns if sent_ns.min(initial=0) >= 0 else lags_ns[sent_ns >= 0])

    def tally(self) -> Tally:
        """Return what was taken so far."""
        return Tally(
            outcomes=tuple(self._outcomes.tolist()),
            response_times=self._response_times.histogram(),
            service_times=self._service_times.histogram(),
            send_lags=self._send_lags.histogram(),
        )
