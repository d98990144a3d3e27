"""Who decides when a load's stages end before their time: purely from slices, or by asking elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pytest_servebench.plan import Load
from pytest_servebench.results import Slice


class Helm(Protocol):
    """Asked at the edges of slices; the time limits of `Window` hold whatever it says.

    Both return the instant (CLOCK_MONOTONIC nanoseconds) at which to go over, ``now_ns`` or a
    later one, or None: not yet. It runs in the thread that sends, so it has to be quick, and
    must not wait.
    """

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        """Return when to go over into measurement; ``slices`` are the warm-up's so far."""

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        """Return when to end the measurement; ``slices`` are the window's so far."""


class LocalHelm:
    """Decides from what this client alone has seen, as the load's ``steady`` and ``precision`` ask."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:  # noqa: ARG002
        """Return ``now_ns`` once the warm-up's latest slices agree; never, where its length is fixed."""
        return None

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:  # noqa: ARG002
        """Return ``now_ns`` once both confidence intervals are narrow enough; never without a precision."""
        return None
