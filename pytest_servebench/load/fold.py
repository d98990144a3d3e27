"""Folds rows that are too many to keep into counts and histograms: what `results.Folded` holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pytest_servebench.arrivals import Staged
from pytest_servebench.load.window import Stage, Window
from pytest_servebench.plan import Load
from pytest_servebench.results import Folded, Tally
from pytest_servebench.tallies import Mask, outcomes_of, tally_of

if TYPE_CHECKING:
    from pytest_servebench.load.sample_log import Columns

BOUND_ROWS = 1_000_000
"""Rows kept as they are: 32 MB. Of longer loads the oldest are folded, a chunk at a time."""


class Fold:
    """Takes rows that ended before ``now``; the window's end, always later, is no concern of theirs."""

    def __init__(self, load: Load) -> None:
        self._folded: Folded | None = None
        self._ends_ns: npt.NDArray[np.int64] | None = None
        """When the stages of the arrivals end, from the start of the load."""
        if isinstance(load.arrivals, Staged):
            lengths_s = [stage.duration_s for stage in load.arrivals.stages]
            self._ends_ns = np.rint(np.cumsum(lengths_s) * 1e9).astype(np.int64)

    def take(self, columns: Columns, chosen: Mask, window: Window) -> None:
        """Fold the ``chosen`` rows. Those that end in the warm-up are in nobody's window, and only counted.

        (A load cut short in its warm-up has its whole length as its window, and is `errors`: there
        its folded rows stay outside.)
        """
        outcome = columns.outcome
        folded = Folded(outcomes=outcomes_of(outcome[chosen]))
        if window.stage is not Stage.WARM_UP:
            folded = self._inside(columns, outcome, chosen, window, folded.outcomes)
        self._folded = folded if self._folded is None else self._folded + folded

    def folded(self) -> Folded | None:
        """Return what was folded; None when nothing was."""
        return self._folded

    def _inside(
        self,
        columns: Columns,
        outcome: npt.NDArray[np.uint8],
        chosen: Mask,
        window: Window,
        outcomes: tuple[int, ...],
    ) -> Folded:
        begin_ns = window.begin_ns
        intended_ns, sent_ns, received_ns = columns.intended_ns, columns.sent_ns, columns.received_ns
        ended_ns = np.where(received_ns >= 0, received_ns, np.maximum(sent_ns, intended_ns))
        inside = chosen & (ended_ns > begin_ns)
        offered = chosen & (intended_ns > begin_ns)
        across = (
            chosen
            & (sent_ns >= 0)
            & (sent_ns <= begin_ns)
            & ~((received_ns >= 0) & (received_ns <= begin_ns))
        )
        return Folded(
            outcomes=outcomes,
            inside=tally_of(intended_ns, sent_ns, received_ns, outcome, inside, lagging=offered),
            offered=int(np.count_nonzero(offered)),
            sent=int(np.count_nonzero(chosen & (sent_ns > begin_ns))),
            in_flight_at_begin=int(np.count_nonzero(across)),
            stages=self._by_stage(columns, outcome, inside, window.start_ns),
        )

    def _by_stage(
        self, columns: Columns, outcome: npt.NDArray[np.uint8], inside: Mask, start_ns: int
    ) -> tuple[Tally, ...]:
        if self._ends_ns is None:
            return ()
        at = np.searchsorted(self._ends_ns, columns.intended_ns - start_ns, side="right")
        present = set(np.unique(at[inside]).tolist())
        instants = (columns.intended_ns, columns.sent_ns, columns.received_ns)
        return tuple(
            tally_of(*instants, outcome, inside & (at == stage)) if stage in present else Tally()
            for stage in range(len(self._ends_ns))
        )
