"""Which replies are kept for verification: a seeded share, and a few spread over the whole window."""

from __future__ import annotations

import numpy as np

from pytest_servebench.results import Reply

MASK_ROWS = 65536
FEWEST = 8
"""Replies kept at the least, where the window has so many."""
LIMIT_BYTES = 256 << 20
"""Replies beyond this sum are not kept, so that the driver's memory stays bounded."""


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
        self._kept: dict[int, bytes | Reply] = {}
        self._spare: dict[int, bytes | Reply] = {}
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
        if not self._open or received_ns < self._begin_ns or self._bytes > LIMIT_BYTES:
            return
        if self.mask[row % MASK_ROWS]:
            self._keep(row, index, reply)
        elif received_ns >= self._next_ns and self._new(index):
            self._next_ns += self._step_ns
            self._keep(row, index, reply)
        elif len(self._spare) < FEWEST:
            self._spare[row] = reply
        self.due_ns = self._next_ns if len(self._spare) >= FEWEST else 0

    def by_row(self) -> dict[int, bytes | Reply]:
        """Return the kept replies by row, filled up to ``FEWEST`` from the first ones of the window."""
        missing = max(0, FEWEST - len(self._kept))
        return dict(sorted({**self._kept, **dict(list(self._spare.items())[:missing])}.items()))

    def _new(self, index: int) -> bool:
        return index not in self._indexes or len(self._indexes) >= min(self._requests, FEWEST)

    def _keep(self, row: int, index: int, reply: bytes | Reply) -> None:
        self._kept[row] = reply
        self._indexes.add(index)
        self._bytes += len(reply.body if isinstance(reply, Reply) else reply)
