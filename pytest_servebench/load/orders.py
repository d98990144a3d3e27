"""What controller and workers say to each other: plain tuples of a word, a load's number, and the rest.

To the worker an order travels pickled: it runs our code anyway. What it answers is plain
types only, so that no host that was asked for load can run anything here.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint, Reply, Samples

PACKAGE = "pytest-servebench"
_COLUMNS = {
    "intended_ns": "<i8",
    "sent_ns": "<i8",
    "received_ns": "<i8",
    "outcome": "<u1",
    "request_index": "<i4",
}


class Say(str, Enum):
    """The words; those of the controller first."""

    ORDER = "order"
    """A pickled `Order`: encode, and say ready."""
    PING = "ping"
    START = "start"
    """The instant, in the worker's clock."""
    GONE = "gone"
    """Why the server is gone: count what is in flight as failed, and end."""
    STOP = "stop"
    """Another worker is lost: end without a result."""
    HELLO = "hello"
    """`Facts` as a dict."""
    MISSING = "missing"
    """The interpreter, and why it cannot import this package."""
    PONG = "pong"
    """The worker's clock, nanoseconds."""
    READY = "ready"
    PROGRESS = "progress"
    """The fields of `Progress`."""
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


def told_samples(samples: Samples) -> dict[str, object]:
    """Return samples as they travel."""
    return {
        **{name: getattr(samples, name).astype(code).tobytes() for name, code in _COLUMNS.items()},
        "window_ns": samples.window_ns,
        "replies": [(at, one.status, dict(one.headers), one.body) for at, one in samples.replies.items()],
        "client_cpu_s": samples.client_cpu_s,
        "first_error": samples.first_error,
    }


def heard_samples(told: Mapping[str, Any]) -> Samples:
    """Return the samples that were told."""
    columns: dict[str, Any] = {
        name: np.frombuffer(told[name], dtype=code).astype(np.dtype(code).newbyteorder("="))
        for name, code in _COLUMNS.items()
    }
    begin_ns, end_ns = told["window_ns"]
    return Samples(
        **columns,
        window_ns=(begin_ns, end_ns),
        replies={at: Reply(status, headers, body) for at, status, headers, body in told["replies"]},
        client_cpu_s=told["client_cpu_s"],
        first_error=told["first_error"],
    )
