"""One connection of the null server: what is read, what is thrown away, and what is still to be sent."""

from __future__ import annotations

import socket

READ_BYTES = 8192
"""Enough for any head; of a long body, so little is copied."""
GONE = (OSError, ValueError)
"""What a client that went away, or speaks something else, makes of a connection."""

_NOWHERE = bytearray(1 << 22)
"""Named as the place of bytes that recv(MSG_TRUNC) throws away; never written."""


class Channel:
    """A non-blocking socket. `receive` is its protocol's; a client that is gone raises one of `GONE`."""

    def __init__(self, opened: socket.socket) -> None:
        self.left = 0
        """Bytes to be thrown away before anything else is read."""
        self.unsent = b""
        self._socket = opened
        self._recv, self._recv_into, self._send = opened.recv, opened.recv_into, opened.send

    def receive(self) -> None:
        """Read what is there, and answer what is whole."""
        raise NotImplementedError

    def read(self) -> bytes:
        """Return some bytes, at least one; raises BlockingIOError, or ConnectionError at the end."""
        data = self._recv(READ_BYTES)
        if not data:
            raise ConnectionError("closed")
        return data

    def drain(self) -> None:
        """Throw away what is there of the bytes that are left."""
        while self.left:
            try:
                count = self._recv_into(_NOWHERE, min(self.left, len(_NOWHERE)), socket.MSG_TRUNC)
            except BlockingIOError:
                return
            if not count:
                raise ConnectionError("closed")
            self.left -= count

    def send(self, data: bytes) -> None:
        """Send, after what is unsent; what the socket does not take now is kept."""
        if self.unsent:
            self.unsent += data
            return
        try:
            taken = self._send(data)
        except BlockingIOError:
            taken = 0
        if taken < len(data):
            self.unsent = data[taken:]

    def flush(self) -> None:
        """Send on."""
        data, self.unsent = self.unsent, b""
        self.send(data)

    def close(self) -> None:
        """Close the socket, which takes it out of any poller."""
        self._socket.close()
