"""A connection that carries one HTTP/1.1 request at a time."""

from __future__ import annotations

import select
from typing import Any

from pytest_servebench.load.connection import Address, Connection
from pytest_servebench.load.framing import ReplyFramer


class HttpConnection(Connection):
    """Knows how much of its request is sent, and how much of the reply has come."""

    __slots__ = ("awaits_whole", "framer", "rest")

    def __init__(self, address: Address, poller: select.epoll, slots: dict[int, Any]) -> None:
        super().__init__(address, poller, slots)
        self.awaits_whole = False
        """Whether the request is sent and no byte of its reply has come: the fast path."""
        self.rest: memoryview | None = None
        """What is still to be sent of the request."""
        self.framer: ReplyFramer | None = None
        """The reply so far, once it has come in more than one piece."""

    def push(self) -> None:
        """Send on what is left of the request, as far as the socket takes it; raises OSError."""
        if self.rest is None:
            return
        try:
            taken = self.send(self.rest)
        except BlockingIOError:
            return
        self.rest = self.rest[taken:] if taken < len(self.rest) else None
        self.awaits_whole = self.rest is None and self.framer is None

    def close(self) -> None:
        """Close the socket; the next `send` opens another."""
        super().close()
        self.rest = None
        self.framer = None
        self.awaits_whole = False
