"""A server that does nothing: reads whole requests, throws them away, answers each with so many bytes.

A program of its own, so that the client meets a socket and another core as with a real server::

    python -m pytest_servebench.load.null_server http|grpc REPLY_BYTES

It listens on a free port of 127.0.0.1, which it prints, and ends when its standard input does or its
parent dies. One thread, one epoll; only the standard library, so that it is up in milliseconds.
Bodies are drained by recv(MSG_TRUNC), which on TCP on Linux (tcp(7)) throws bytes away without
copying them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import select
import socket
import sys

from pytest_servebench.load.null_channel import GONE, Channel
from pytest_servebench.load.null_http2 import Http2Channel

_BLANK = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_BYTES = 65536
_REMEMBERED = 1000


def http_reply(reply_bytes: int) -> bytes:
    """Return a complete reply of exactly so many bytes, or of the fewest that a reply can have."""
    body_bytes = max(0, reply_bytes - len(_head(0)))
    while body_bytes and len(_head(body_bytes)) + body_bytes > reply_bytes:
        body_bytes -= 1
    # Where the length gets another digit one byte is missing; a blank before it is as good.
    blanks = max(1, 1 + reply_bytes - len(_head(body_bytes)) - body_bytes)
    return _head(body_bytes, blanks) + bytes(body_bytes)


def _head(body_bytes: int, blanks: int = 1) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length:%s%d\r\n\r\n" % (b" " * blanks, body_bytes)


class Http1Channel(Channel):
    """One kept-alive connection of HTTP/1.1; pipelined requests are answered too, in order."""

    def __init__(self, opened: socket.socket, reply: bytes, lengths: dict[bytes, int]) -> None:
        super().__init__(opened)
        self._reply = reply
        self._lengths = lengths
        """Body bytes by head: clients repeat their heads."""
        self._before = b""

    def receive(self) -> None:
        """Read what is there; answer every request that is whole."""
        if self.left:
            self.drain()
            if not self.left:
                self.send(self._reply)
            return
        data = self._before + self.read()
        while (end := data.find(_BLANK) + len(_BLANK)) >= len(_BLANK):
            length = self._length(data[:end])
            missing = length - (len(data) - end)
            data = data[end + length :]
            if missing > 0:
                self.left = missing
                self.drain()
            if not self.left:
                self.send(self._reply)
        if len(data) > _HEAD_BYTES:
            raise ConnectionError("a head without end")
        self._before = data

    def _length(self, head: bytes) -> int:
        length = self._lengths.get(head)
        if length is None:
            match = _LENGTH.search(head)
            length = int(match[1]) if match else 0
            if len(self._lengths) < _REMEMBERED:
                self._lengths[head] = length
        return length


class NullServer:
    """Accepts connections and has each of them answered, until the owner lets go."""

    def __init__(self, listener: socket.socket, protocol: str, reply_bytes: int) -> None:
        self._listener = listener
        self._grpc = protocol == "grpc"
        self._reply_bytes = reply_bytes
        self._reply = http_reply(reply_bytes)
        self._lengths: dict[bytes, int] = {}
        self._poller = select.epoll()
        self._channels: dict[int, Channel] = {}

    def run(self, owner: tuple[int, ...]) -> None:
        """Serve until one of the descriptors of ``owner`` can be read."""
        listener = self._listener.fileno()
        for descriptor in (listener, *owner):
            self._poller.register(descriptor, select.EPOLLIN)
        poll, channels = self._poller.poll, self._channels
        while True:
            for descriptor, _ in poll():
                channel = channels.get(descriptor)
                if channel is not None:
                    self._attend(descriptor, channel)
                elif descriptor == listener:
                    self._accept()
                else:
                    return

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            opened, _ = self._listener.accept()
            opened.setblocking(False)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            channel: Channel = (
                Http2Channel(opened, self._reply_bytes)
                if self._grpc
                else Http1Channel(opened, self._reply, self._lengths)
            )
            self._channels[opened.fileno()] = channel
            self._poller.register(opened, select.EPOLLIN)
            self._attend(opened.fileno(), channel)

    def _attend(self, descriptor: int, channel: Channel) -> None:
        waited = bool(channel.unsent)
        try:
            channel.flush() if waited else channel.receive()
        except BlockingIOError:
            pass
        except GONE:
            del self._channels[descriptor]
            channel.close()
            return
        if waited != bool(channel.unsent):
            # A client that does not read its replies is not read from either.
            self._poller.modify(descriptor, select.EPOLLOUT if channel.unsent else select.EPOLLIN)


def main(words: list[str]) -> int:
    """Listen, say where, and serve until the parent closes our standard input or is gone."""
    protocol, reply_bytes = words[0], int(words[1])
    owner = [sys.stdin.fileno()]
    # On a kernel without pidfd_open the standard input alone has to tell.
    with contextlib.suppress(AttributeError, OSError):
        owner.append(os.pidfd_open(os.getppid()))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)  # noqa: T201 (how the parent learns the port)
        gc.disable()
        NullServer(listener, protocol, reply_bytes).run(tuple(owner))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
