"""What became of every request, written down in the order of completion at the cost of a few stores."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_servebench.results import Outcome

CHUNK_ROWS = 16384
"""Rows allocated at once: half a megabyte, so that growing never stalls the sender for long."""
OUTCOME_BITS = 3
_OUTCOME_MASK = (1 << OUTCOME_BITS) - 1
_RECENT_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All rows, in order of sending, those never sent in that of their intent; arrays of equal length."""

    intended_ns: npt.NDArray[np.int64]
    sent_ns: npt.NDArray[np.int64]
    received_ns: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.uint8]
    request_index: npt.NDArray[np.int32]
    position: npt.NDArray[np.int64]
    """Where each row, by number in order of completion, now stands."""


class _Chunk:
    """Columns of ``CHUNK_ROWS`` rows, touched once so that the hot path meets no page fault."""

    __slots__ = ("arrays", "views")

    def __init__(self) -> None:
        columns = [array("q", [-1]) * CHUNK_ROWS for _ in range(4)]
        self.arrays = tuple(np.frombuffer(column, dtype=np.int64) for column in columns)
        self.views = tuple(memoryview(column) for column in columns)


class SampleLog:
    """Appends rows to preallocated columns; a row's number is its order of completion."""

    def __init__(self) -> None:
        self.failures = [0] * (_OUTCOME_MASK + 1)
        """Rows by outcome, except OK, which is all others."""
        self._full: list[_Chunk] = []
        self._spare = _Chunk()
        self._row = 0
        self._before = 0
        self._take_chunk()

    def __len__(self) -> int:
        return len(self._full) * CHUNK_ROWS + self._row

    @property
    def correct(self) -> int:
        """Rows whose outcome is OK."""
        return len(self) - sum(self.failures)

    @property
    def errors(self) -> int:
        """Rows of any other outcome."""
        return sum(self.failures)

    def add(self, intended_ns: int, sent_ns: int, received_ns: int, code: int) -> int:
        """Write one row and return its number; ``code`` is the request's index shifted over its outcome."""
        row = self._row
        self._intended[row] = intended_ns
        self._sent[row] = sent_ns
        self._received[row] = received_ns
        self._code[row] = code
        self._row = row + 1
        if row == CHUNK_ROWS - 1:
            self._full.append(self._chunk)
            self._take_chunk()
            return len(self) - 1
        return self._before + row

    def add_failure(self, instants_ns: tuple[int, int, int], index: int, outcome: Outcome) -> int:
        """Write one row that is not OK and count it."""
        self.failures[outcome] += 1
        return self.add(*instants_ns, code_of(index, outcome))

    def recent_p95_ms(self) -> float | None:
        """Return the p95 response time of the latest rows, up to 4,096 of the current chunk or the last."""
        chunk, rows = (self._chunk, self._row)
        if rows < min(_RECENT_ROWS, len(self)) and self._full:
            chunk, rows = self._full[-1], CHUNK_ROWS
        if not rows:
            return None
        recent = slice(max(0, rows - _RECENT_ROWS), rows)
        received = chunk.arrays[2][recent]
        spans = (received - chunk.arrays[0][recent])[received >= 0]
        if not len(spans):  # all of them dropped
            return None
        rank = int(0.95 * (len(spans) - 1) + 0.5)
        return float(np.partition(spans, rank)[rank]) / 1e6

    def rows(self) -> Rows:
        """Return everything, in order of sending (rows of one instant: in order of completion)."""
        columns = [
            np.concatenate([*(chunk.arrays[i] for chunk in self._full), self._chunk.arrays[i][: self._row]])
            for i in range(4)
        ]
        # A dropped arrival was never sent: it stands where it was intended.
        order = np.argsort(np.where(columns[1] >= 0, columns[1], columns[0]), kind="stable")
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        intended, sent, received, code = (column[order] for column in columns)
        return Rows(
            intended,
            sent,
            received,
            (code & _OUTCOME_MASK).astype(np.uint8),
            (code >> OUTCOME_BITS).astype(np.int32),
            position,
        )

    def _take_chunk(self) -> None:
        self._chunk = self._spare
        self._intended, self._sent, self._received, self._code = self._chunk.views
        self._row = 0
        self._before = len(self._full) * CHUNK_ROWS
        self._spare = _Chunk()


def code_of(index: int, outcome: Outcome = Outcome.OK) -> int:
    """Return a row's code: the request's index shifted over the outcome."""
    return (index << OUTCOME_BITS) | outcome
