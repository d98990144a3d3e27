"""The engines of a load, each by its word."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.interfaces import Driver, Watch
from pytest_servebench.k6.k6 import K6
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Engine, Load, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Reply, Samples


class Engines:
    """Satisfies `interfaces.Driver`: our own sender, and for a load that asks for it k6."""

    def __init__(self, own: Driver | None = None, k6: K6 | None = None) -> None:
        self._sender = LoadDriver()
        self._own = own or self._sender
        self._k6 = k6 or K6()

    def exchange(self, endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
        """Send one request on a connection of its own and return the reply; raises `LoadError`."""
        return self._own.exchange(endpoint, request, timeout_s)

    def run(self, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, watch: Watch) -> Samples:
        """Send ``requests`` under ``load`` by its engine and return every sample; raises `LoadError`."""
        engine = self._k6 if load.engine is Engine.K6 else self._own
        return engine.run(endpoint, requests, load, watch)

    def close(self) -> None:
        """End the workers of our own sender, if any are open; may be called twice."""
        self._sender.close()
