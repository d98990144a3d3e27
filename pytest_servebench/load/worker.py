"""One worker: what runs inside an execnet gateway, on this machine or another, and sends its share.

It ends with its controller: when the pipe to it closes, at once and whatever it is doing; and
where both are on one machine, by the kernel, even while it is stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from queue import SimpleQueue
from typing import Any, NoReturn

import numpy as np

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.errors import ServebenchError
from pytest_servebench.load.driver import PreparedLoad
from pytest_servebench.load.orders import (
    Order,
    Say,
    clock_identity,
    package_version,
    unpacked,
)
from pytest_servebench.load.shares import rotated
from pytest_servebench.load.telling import told, told_samples
from pytest_servebench.load.window import Stage
from pytest_servebench.results import Progress
from pytest_servebench.samples import Samples, Slice

_PR_SET_PDEATHSIG = 1


class StoppedError(Exception):
    """The controller wants no result any more."""


def serve(channel: Any) -> NoReturn:  # noqa: ANN401 (an execnet channel, of either side's execnet)
    """Carry out one order after another, until the controller is gone."""
    _end_with_controller()
    desk = Desk(channel)
    channel.setcallback(desk.hear, endmarker=None)
    desk.say(Say.HELLO, 0, facts())
    while True:
        desk.carry_out(unpacked(desk.orders.get()))


def facts() -> dict[str, object]:
    """Return what the controller must know of this process."""
    return {
        "version": package_version(),
        "python": platform.python_version(),
        "pid": os.getpid(),
        "host": platform.node(),
        "clock": clock_identity(),
    }


class Desk:
    """Where orders come in, on execnet's receiving thread, and are carried out, on the main thread."""

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 (as above)
        self.orders: SimpleQueue[bytes] = SimpleQueue()
        self._channel = channel
        self._starts: SimpleQueue[tuple[int, int | None]] = SimpleQueue()
        self._stopped = 0
        """The latest load that is to end without a result."""
        self._edges: dict[tuple[int, str], int] = {}
        self._gone: tuple[int, str] = (0, "")
        """The latest load whose server is gone, and why."""

    def say(self, word: Say, number: int, *rest: object) -> None:
        """Tell the controller."""
        self._channel.send((word.value, number, *rest))

    def hear(self, message: tuple[Any, ...] | None) -> None:
        """Take in what the controller says; None: it is gone."""
        if message is None:
            os._exit(0)
        word, number, *rest = message
        if word == Say.PING:
            self.say(Say.PONG, number, monotonic_ns())
        elif word == Say.ORDER:
            self.orders.put(rest[0])
        elif word == Say.START:
            self._starts.put((number, rest[0]))
        elif word == Say.STOP:
            self._stopped = number
            self._starts.put((number, None))
        elif word == Say.GONE:
            self._gone = (number, rest[0])
        elif word == Say.EDGE:
            stage, at_ns = rest
            self._edges[number, stage] = at_ns

    def carry_out(self, order: Order) -> None:
        """Send one share and tell what came of it; errors are told too, and the worker lives on."""
        try:
            requests = rotated(order.requests, order.first_request)
            prepared = PreparedLoad(order.endpoint, requests, order.load)
            try:
                self.say(Say.READY, order.number)
                watch = RemoteWatch(self, order.number, prepared)
                helm = RemoteHelm(self, order.number, order.steered)
                samples = prepared.run(watch, helm, self._start_of(order.number))
            finally:
                prepared.sender.close()
            self.say(Say.SAMPLES, order.number, told_samples(_as_given(samples, order)))
        except StoppedError:
            self.say(Say.STOPPED, order.number)
        except ServebenchError as error:
            self.say(Say.FAILED, order.number, error.what, error.where, error.seen, error.next_step)
        except Exception:  # noqa: BLE001 (it must reach the controller, whatever it is)
            self.say(Say.FAILED, order.number, "A worker failed.", "", traceback.format_exc()[-2000:], "")

    def stopped(self, number: int) -> bool:
        """Return whether a load is to end without a result."""
        return self._stopped >= number

    def gone(self, number: int) -> str | None:
        """Return why the server of a load is gone, as far as the controller has said so."""
        return self._gone[1] if self._gone[0] == number else None

    def edge_ns(self, number: int, stage: Stage) -> int | None:
        """Return when a stage of a load ends, as far as the controller has said so."""
        return self._edges.get((number, stage.value))

    def _start_of(self, number: int) -> int:
        """Wait for the instant at which a load begins; raises `StoppedError`."""
        while True:
            said, start_ns = self._starts.get()
            if said == number and start_ns is not None:
                return int(start_ns)
            if said == number:
                raise StoppedError


class RemoteWatch:
    """Tells the controller how far the load is, and heeds what it says meanwhile."""

    def __init__(self, desk: Desk, number: int, prepared: PreparedLoad) -> None:
        self._desk = desk
        self._number = number
        self._sender = prepared.sender

    def progress(self, progress: Progress) -> None:
        """Tell it; raises `StoppedError` when the controller wants no result any more."""
        if self._desk.stopped(self._number):
            raise StoppedError
        if self._desk.gone(self._number) is not None:
            self._sender.troubled = True  # so that the course asks, also where nothing failed here
        self._desk.say(Say.PROGRESS, self._number, asdict(progress))

    def server_gone(self) -> str | None:
        """Ask the controller, who looks at the server's process, and return what it has said by now."""
        gone = self._desk.gone(self._number)
        if gone is None:
            self._desk.say(Say.TROUBLED, self._number)
        return gone


class RemoteHelm:
    """Tells the controller of each slice, and goes over when it says: it decides for all workers."""

    def __init__(self, desk: Desk, number: int, steered: Sequence[str]) -> None:
        self._desk = desk
        self._number = number
        self._steered = steered
        self._told: tuple[Stage, int] = (Stage.WARM_UP, 0)
        """Of which stage how many slices were told."""

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:  # noqa: ARG002 (not its decision)
        """Return when the controller wants the warm-up to end."""
        return self._ask(Stage.WARM_UP, slices)

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:  # noqa: ARG002 (as above)
        """Return when the controller wants the measurement to end."""
        return self._ask(Stage.MEASURING, slices)

    def _ask(self, stage: Stage, slices: Sequence[Slice]) -> int | None:
        if stage.value not in self._steered:
            return None
        # A time line that was made coarser is told anew.
        known = self._told == (stage, len(slices) - 1)
        new = slices[-1:] if known else slices
        self._told = (stage, len(slices))
        self._desk.say(Say.SLICES, self._number, stage.value, not known, [told(one) for one in new])
        return self._desk.edge_ns(self._number, stage)


def _as_given(samples: Samples, order: Order) -> Samples:
    """Return the samples with the requests numbered as the controller has them."""
    index = (samples.request_index + order.first_request) % len(order.requests)
    return replace(samples, request_index=index.astype(np.int32))


def _end_with_controller() -> None:
    """Be killed with the parent, and leave Ctrl-C to the controller, who has the same terminal."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
