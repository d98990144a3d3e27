"""Folds rows that are too many to keep into counts and histograms: what `samples.Folded` holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.arrivals import Share, Staged
from pytest_servebench.load.sample_log import Columns
from pytest_servebench.load.window import Stage, Window
from pytest_servebench.plan import Load
from pytest_servebench.samples import Folded, Outcome
from pytest_servebench.statistics.tallies import TallySheet

BOUND_ROWS = 1_000_000
"""Rows kept as they are: 32 MB. Of longer loads the oldest are folded, a chunk at a time."""


class Fold:
    """Takes rows that have ended; the window's end, which is later, is no concern of theirs."""

    def __init__(self, load: Load) -> None:
        self._outcomes = np.zeros(len(Outcome), dtype=np.int64)
        self._inside = TallySheet()
        self._offered = self._sent = self._in_flight_at_begin = 0
        self._stage_ends_ns: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        """When the stages of the arrivals end, from the start of the load."""
        arrivals = load.arrivals.whole if isinstance(load.arrivals, Share) else load.arrivals
        if isinstance(arrivals, Staged):
            lengths_s = [stage.duration_s for stage in arrivals.stages]
            self._stage_ends_ns = np.rint(np.cumsum(lengths_s) * 1e9).astype(np.int64)
        self._stages = [TallySheet() for _ in self._stage_ends_ns]

    def take(self, rows: Columns, window: Window) -> None:
        """Fold ``rows``. Those that end in the warm-up are in nobody's window, and only counted.

        (A load cut short in its warm-up has its whole length as its window, and is `errors`: what
        was folded of it stays outside.)
        """
        outcome = rows.outcome
        self._outcomes += np.bincount(outcome, minlength=len(Outcome))
        if window.stage is not Stage.WARM_UP:
            self._take_inside(rows, outcome, window)

    def folded(self) -> Folded | None:
        """Return what was folded; None when nothing was."""
        if not self._outcomes.any():
            return None
        return Folded(
            outcomes=tuple(self._outcomes.tolist()),
            inside=self._inside.tally(),
            offered=self._offered,
            sent=self._sent,
            in_flight_at_begin=self._in_flight_at_begin,
            stages=tuple(sheet.tally() for sheet in self._stages),
        )

    def _take_inside(self, rows: Columns, outcome: npt.NDArray[np.uint8], window: Window) -> None:
        begin_ns = window.begin_ns
        instants = (rows.intended_ns, rows.sent_ns, rows.received_ns)
        # A row without a reply is a dropped arrival, which ended when it was intended.
        ended_ns = np.where(rows.received_ns >= 0, rows.received_ns, rows.intended_ns)
        inside, offered, sent = (at_ns > begin_ns for at_ns in (ended_ns, rows.intended_ns, rows.sent_ns))
        self._offered += int(np.count_nonzero(offered))
        self._sent += int(np.count_nonzero(sent))
        self._in_flight_at_begin += int(np.count_nonzero(inside & ~sent & (rows.sent_ns >= 0)))
        self._inside.ended(*_chosen(inside, *instants), *_chosen(inside, outcome))
        self._inside.begun(*_chosen(offered, *instants[:2]))
        if self._stages:
            self._take_stages(rows, outcome, inside, window.start_ns)

    def _take_stages(
        self, rows: Columns, outcome: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], start_ns: int
    ) -> None:
        at = np.searchsorted(self._stage_ends_ns, rows.intended_ns - start_ns, side="right")
        for number in set(np.unique(at[inside]).tolist()) - {len(self._stages)}:
            chosen = inside & (at == number)
            intended_ns, sent_ns, received_ns = _chosen(
                chosen, rows.intended_ns, rows.sent_ns, rows.received_ns
            )
            self._stages[number].ended(intended_ns, sent_ns, received_ns, *_chosen(chosen, outcome))
            self._stages[number].begun(intended_ns, sent_ns)


def _chosen(mask: npt.NDArray[np.bool_], *columns: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Return the chosen rows of some columns, without a copy where that is all of them."""
    return columns if mask.all() else tuple(column[mask] for column in columns)
