"""Which replies are kept for verification: a seeded share, and a few spread over the whole window."""

from __future__ import annotations

from collections import deque

import numpy as np

from pytest_servebench.samples import Reply

MASK_ROWS = 65536
FEWEST = 8
"""Replies kept at the least, where the window has so many."""
LIMIT_BYTES = 256 << 20
"""Above this sum every second reply of the share is let go, and half the share is kept from then on."""
LIMIT_REPLIES = 16_384
"""The same above this number: what an hour's replies are verified by need not be more."""


class KeptReplies:
    """Decides on the hot path by one look-up and one comparison; holds raw bytes or read replies.

    The look-up is ``mask[row % MASK_ROWS]``; the comparison ``received_ns >= due_ns``.
    When either holds, the reply is offered.
    """

    def __init__(self, share: float, seed: int, requests: int) -> None:
        drawn = np.random.default_rng(seed).random(MASK_ROWS) < share
        self._wanted = share > 0
        self.mask = drawn.astype(np.uint8).tobytes()
        self.due_ns = 1 << 63
        """From when the next reply is kept whatever the mask says; never, outside the window."""
        self._requests = requests
        self._drawn: dict[int, bytes | Reply] = {}
        """Those that the share asked for, every ``_stride``-th of them."""
        self._stride = 1
        self._asked = 0
        self._spread: dict[int, bytes | Reply] = {}
        self._spare: dict[int, bytes | Reply] = {}
        self._rows: deque[int] = deque()
        """Rows that were kept and are not known to be folded, in order."""
        self._step_ns = 0
        self._begin_ns = self._next_ns = 0
        self._open = False
        self._indexes: set[int] = set()
        self._bytes = 0

    def open_window(self, begin_ns: int, duration_ns: int) -> None:
        """Begin to keep: one reply in each eighth of the window at the least."""
        self._open = self._wanted
        self._step_ns = max(1, duration_ns // FEWEST)
        self._next_ns = self._begin_ns = begin_ns
        self.due_ns = begin_ns if self._wanted else 1 << 63

    def close_window(self) -> None:
        """Keep no more."""
        self._open = False
        self.due_ns = 1 << 63

    def offer(self, row: int, index: int, received_ns: int, reply: bytes | Reply) -> None:
        """Keep this OK reply if the share, or its part of the window, asks for it."""
        if not self._open or received_ns < self._begin_ns:
            return
        if self.mask[row % MASK_ROWS]:
            self._draw(row, index, reply)
        elif received_ns >= self._next_ns and self._new(index) and self._bytes <= LIMIT_BYTES:
            self._next_ns += self._step_ns
            self._keep(self._spread, row, index, reply)
        elif len(self._spare) < FEWEST:
            self._keep(self._spare, row, None, reply)
        self.due_ns = self._next_ns if len(self._spare) >= FEWEST else 0

    def by_row(self) -> dict[int, bytes | Reply]:
        """Return the kept replies by row, filled up to ``FEWEST`` from the first ones of the window."""
        kept = {**self._drawn, **self._spread}
        missing = max(0, FEWEST - len(kept))
        return dict(sorted({**kept, **dict(list(self._spare.items())[:missing])}.items()))

    def places(self, first: int, end: int) -> list[int]:
        """Return which rows from ``first`` to before ``end`` are kept, counted from ``first``; only once."""
        found = []
        while self._rows and self._rows[0] < end:
            row = self._rows.popleft()
            if row in self._drawn or row in self._spread or row in self._spare:
                found.append(row - first)
        return found

    def _draw(self, row: int, index: int, reply: bytes | Reply) -> None:
        """Keep every ``_stride``-th reply that the share asks for; too many double the stride."""
        self._asked += 1
        if (self._asked - 1) % self._stride:
            return
        self._keep(self._drawn, row, index, reply)
        while len(self._drawn) > 1 and (self._bytes > LIMIT_BYTES or len(self._drawn) > LIMIT_REPLIES):
            self._bytes -= sum(_bytes_of(self._drawn.pop(other)) for other in list(self._drawn)[1::2])
            self._stride *= 2

    def _new(self, index: int) -> bool:
        return index not in self._indexes or len(self._indexes) >= min(self._requests, FEWEST)

    def _keep(
        self, where: dict[int, bytes | Reply], row: int, index: int | None, reply: bytes | Reply
    ) -> None:
        where[row] = reply
        self._rows.append(row)
        self._bytes += _bytes_of(reply)
        if index is not None:
            self._indexes.add(index)


def _bytes_of(reply: bytes | Reply) -> int:
    return len(reply.body if isinstance(reply, Reply) else reply)
