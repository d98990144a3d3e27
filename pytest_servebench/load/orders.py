"""What controller and workers say to each other: plain tuples of a word, a load's number, and the rest.

To the worker an order travels pickled: it runs our code anyway. What it answers is plain
types only, so that no host that was asked for load can run anything here.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint

PACKAGE = "pytest-servebench"


class Say(str, Enum):
    """The words; those of the controller first."""

    ORDER = "order"
    """A pickled `Order`: encode, and say ready."""
    PING = "ping"
    START = "start"
    """The instant, in the worker's clock."""
    GONE = "gone"
    """Why the server is gone: count what is in flight as failed, and end."""
    EDGE = "edge"
    """Which stage begins, and the instant at which, in the worker's clock."""
    STOP = "stop"
    """Another worker is lost: end without a result."""
    HELLO = "hello"
    """What `worker.facts` returns."""
    MISSING = "missing"
    """The interpreter, and why it cannot import this package."""
    PONG = "pong"
    """The worker's clock, nanoseconds."""
    READY = "ready"
    PROGRESS = "progress"
    """The fields of `Progress`."""
    SLICES = "slices"
    """Of which stage, whether they are all of it, and the slices."""
    TROUBLED = "troubled"
    """There were transport errors: is the server gone?"""
    SAMPLES = "samples"
    FAILED = "failed"
    """What, where, seen and next step of an error."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One worker's share of a load."""

    number: int
    endpoint: Endpoint
    requests: tuple[WireRequest, ...]
    first_request: int
    """Which of them it sends first."""
    load: Load
    steered: tuple[str, ...] = ()
    """Stages of which it tells the slices, because the controller may end them."""

    def packed(self) -> tuple[str, int, bytes]:
        """Return it as it travels."""
        return Say.ORDER.value, self.number, pickle.dumps(self, protocol=4)


def unpacked(data: bytes) -> Order:
    """Return the order of the controller that started this process."""
    order = pickle.loads(data)  # noqa: S301 (from the process whose code runs here anyway)
    assert isinstance(order, Order)
    return order


@cache
def package_version() -> str:
    """Return the installed version of this package; empty for a bare checkout."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""


def clock_identity() -> str:
    """Return text that is equal for two processes whose CLOCK_MONOTONIC is one clock.

    That is one boot and one time namespace (time_namespaces(7)); empty where it cannot be told.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return ""
