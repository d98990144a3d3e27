"""What became of every request, written down in the order of completion at the cost of a few stores."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_servebench.samples import Outcome

CHUNK_ROWS = 16384
"""Rows allocated at once: half a megabyte, so that growing never stalls the sender for long."""
OUTCOME_BITS = 3
_OUTCOME_MASK = (1 << OUTCOME_BITS) - 1
_RECENT_ROWS = 4096
_FASTEST_OF = 256


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Some rows as they were written, in order of completion; views, good until the log is folded."""

    intended_ns: npt.NDArray[np.int64]
    sent_ns: npt.NDArray[np.int64]
    received_ns: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]
    """The request's index shifted over its outcome."""

    @property
    def outcome(self) -> npt.NDArray[np.uint8]:
        """How each ended, by `Outcome`."""
        return (self.code & _OUTCOME_MASK).astype(np.uint8)

    def chosen(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Columns:
        """Return a copy of some rows."""
        return Columns(
            self.intended_ns[which], self.sent_ns[which], self.received_ns[which], self.code[which]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All rows held, in order of sending (those never sent: of intent); arrays of equal length."""

    intended_ns: npt.NDArray[np.int64]
    sent_ns: npt.NDArray[np.int64]
    received_ns: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.uint8]
    request_index: npt.NDArray[np.int32]
    number: npt.NDArray[np.int64]
    """Which row each is, by number in order of completion."""

    def positions(self, numbers: Sequence[int]) -> list[int]:
        """Return where the rows of these numbers stand; they must be held."""
        order = np.argsort(self.number)
        found: list[int] = order[np.searchsorted(self.number[order], numbers)].tolist()
        return found


class _Chunk:
    """Columns of ``CHUNK_ROWS`` rows, touched once so that the hot path meets no page fault."""

    __slots__ = ("arrays", "views")

    def __init__(self) -> None:
        columns = [array("q", [-1]) * CHUNK_ROWS for _ in range(4)]
        self.arrays = tuple(np.frombuffer(column, dtype=np.int64) for column in columns)
        self.views = tuple(memoryview(column) for column in columns)

    def columns(self, first: int, end: int) -> Columns:
        return Columns(*(column[first:end] for column in self.arrays))


class SampleLog:
    """Appends rows to preallocated columns; a row's number is its order of completion."""

    def __init__(self) -> None:
        self.failures = [0] * (_OUTCOME_MASK + 1)
        """Rows by outcome, except OK, which is all others."""
        self._full: deque[_Chunk] = deque()
        self._folded_rows = 0
        """Rows in the chunks that were folded: the number of the first row still held."""
        self._retained: list[tuple[npt.NDArray[np.int64], Columns]] = []
        """Rows of folded chunks that are held all the same, with their numbers."""
        self._spares = [_Chunk()]
        self._row = 0
        self._before = 0
        self._take_chunk()

    def __len__(self) -> int:
        return self._before + self._row

    @property
    def held(self) -> int:
        """Rows in the log's chunks."""
        return len(self) - self._folded_rows

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

    def recent_fastest_ns(self) -> int:
        """Return the shortest service time of the latest replies of the current chunk; 0 without any."""
        recent = slice(max(0, self._row - _FASTEST_OF), self._row)
        sent, received = (self._chunk.arrays[column][recent] for column in (1, 2))
        spans = (received - sent)[(sent >= 0) & (received >= 0)]
        return int(spans.min()) if len(spans) else 0

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

    def since(self, number: int) -> Columns:
        """Return the rows from this number on; they must not be folded yet."""
        first, end = number - self._folded_rows, len(self) - self._folded_rows
        chunks = [*self._full, self._chunk]
        parts = [
            chunks[at].columns(max(0, first - at * CHUNK_ROWS), min(CHUNK_ROWS, end - at * CHUNK_ROWS))
            for at in range(first // CHUNK_ROWS, len(chunks))
        ]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def oldest(self, but: Sequence[int]) -> Columns:
        """Return the rows of the oldest full chunk but some, these by place in the chunk."""
        columns = self._full[0].columns(0, CHUNK_ROWS)
        if not but:
            return columns
        others = np.ones(CHUNK_ROWS, dtype=np.bool_)
        others[but] = False
        return columns.chosen(others)

    def release_oldest(self, but: Sequence[int]) -> None:
        """Use the oldest full chunk again, and hold only the rows ``but`` of it, by place in the chunk."""
        chunk = self._full.popleft()
        if but:
            places = np.asarray(but, dtype=np.int64)
            held = chunk.columns(0, CHUNK_ROWS).chosen(places)
            self._retained.append((places + self._folded_rows, held))
        self._folded_rows += CHUNK_ROWS
        self._spares.append(chunk)

    def rows(self) -> Rows:
        """Return all that is held, in order of sending (rows of one instant: in order of completion)."""
        parts = [*self._retained, (np.arange(self._folded_rows, len(self)), self.since(self._folded_rows))]
        columns = _joined([part for _, part in parts])
        number = np.concatenate([numbers for numbers, _ in parts])
        # A dropped arrival was never sent: it stands where it was intended.
        begun = np.where(columns.sent_ns >= 0, columns.sent_ns, columns.intended_ns)
        order = np.argsort(begun, kind="stable")
        return Rows(
            columns.intended_ns[order],
            columns.sent_ns[order],
            columns.received_ns[order],
            columns.outcome[order],
            (columns.code >> OUTCOME_BITS).astype(np.int32)[order],
            number[order],
        )

    def _take_chunk(self) -> None:
        self._chunk = self._spares.pop()
        self._intended, self._sent, self._received, self._code = self._chunk.views
        self._row = 0
        self._before = self._folded_rows + len(self._full) * CHUNK_ROWS
        if not self._spares:
            self._spares.append(_Chunk())


def _joined(parts: Sequence[Columns]) -> Columns:
    return Columns(
        np.concatenate([part.intended_ns for part in parts]),
        np.concatenate([part.sent_ns for part in parts]),
        np.concatenate([part.received_ns for part in parts]),
        np.concatenate([part.code for part in parts]),
    )


def code_of(index: int, outcome: Outcome = Outcome.OK) -> int:
    """Return a row's code: the request's index shifted over the outcome."""
    return (index << OUTCOME_BITS) | outcome
