"""A connection that carries one gRPC call at a time, each on a stream of its own."""

from __future__ import annotations

import select
from typing import Any

from pytest_servebench.load.connection import Address, Connection
from pytest_servebench.load.grpc_wire import Call, Frames
from pytest_servebench.load.http2 import LAST_STREAM, PREFACE, STREAM_AT, WORD
from pytest_servebench.load.http2_link import Link, Upload


class GrpcConnection(Connection):
    """Sends calls as the server's windows allow: as a whole where they can, else in pieces."""

    __slots__ = ("_frames", "_outgoing", "_upload", "link", "unsent")

    def __init__(self, address: Address, poller: select.epoll, slots: dict[int, Any]) -> None:
        super().__init__(address, poller, slots)
        self.link = Link()
        """What the server allows and has answered; a new one with every socket."""
        self.unsent = False
        """Whether something of ours waits for the socket or for the server's permission."""
        self._outgoing: list[memoryview] = []
        """What the socket has not taken yet."""
        self._frames: Frames | None = None
        """Whose bytes ``_outgoing`` shows, where other connections write their streams' numbers too."""
        self._upload: Upload | None = None

    def begin(self, call: Call) -> None:
        """Send a call on a new stream as far as the socket takes it, on a new socket if need be.

        A server that leaves takes no stream, and numbers end at 2^31; raises OSError.
        """
        link = self.link
        if self.socket is None or link.leaving or link.stream + 2 > LAST_STREAM:
            link = self._anew()
        stream = link.open_stream()
        if self.unsent or call.message_bytes > link.room_bytes:
            self._begin_piecewise(call, stream)
            return
        link.spend(call.message_bytes)
        frames = call.frames(link.frame_bytes)
        frames.address(stream)
        try:
            taken = self.send(frames.wire)
        except BlockingIOError:
            taken = 0
        if taken < len(frames.wire):
            self._frames, self._outgoing = frames, [memoryview(frames.wire)[taken:]]
            self.unsent = True

    def push(self) -> None:
        """Send what waits, as far as socket and windows take it; raises OSError."""
        try:
            while self._more():
                if self._frames is not None:
                    self._frames.address(self.link.stream)
                assert self.socket is not None
                self._drop(self.socket.sendmsg(self._outgoing))
        except BlockingIOError:
            self.unsent = True

    def close(self) -> None:
        """Close the socket; the next `begin` opens another."""
        super().close()
        self._outgoing = []
        self._frames = self._upload = None
        self.unsent = False

    def _anew(self) -> Link:
        self.close()
        self.link = Link()
        self.connect()
        self._outgoing = [memoryview(PREFACE)]
        self.unsent = True
        return self.link

    def _begin_piecewise(self, call: Call, stream: int) -> None:
        headers = bytearray(call.headers)
        WORD.pack_into(headers, STREAM_AT, stream)
        self._outgoing.append(memoryview(headers))
        self._upload = Upload(call.message)
        self.push()

    def _more(self) -> bool:
        """Find something to send between two frames; return whether there is anything."""
        if not self._outgoing:
            self._frames = None
            if self.link.answers:
                self._outgoing.append(memoryview(bytes(self.link.answers)))
                self.link.answers.clear()
            if self._upload is not None:
                self._outgoing += self._upload.frames(self.link)
                if self._upload.done:
                    self._upload = None
        self.unsent = bool(self._outgoing) or self._upload is not None
        return bool(self._outgoing)

    def _drop(self, taken: int) -> None:
        """Forget what the socket has taken."""
        for number, piece in enumerate(self._outgoing):
            if taken < len(piece):
                self._outgoing = [piece[taken:], *self._outgoing[number + 1 :]]
                return
            taken -= len(piece)
        self._outgoing = []
