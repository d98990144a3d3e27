"""Sends loads by several processes or hosts together."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue

from pytest_servebench.interfaces import Watch
from pytest_servebench.load.gateways import Heard, WorkerGateway
from pytest_servebench.load.helm import Helm
from pytest_servebench.load.shares import names_of, shares_of
from pytest_servebench.load.team import Member, TeamRun
from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Samples


class Workers:
    """Sends loads by the workers they name; those stay open from load to load, until `close`."""

    def __init__(self) -> None:
        self._open: dict[str, WorkerGateway] = {}
        self._heard: SimpleQueue[Heard] = SimpleQueue()
        self._loads = 0

    def run(
        self,
        endpoint: Endpoint,
        requests: Sequence[WireRequest],
        load: Load,
        watch: Watch,
        helm: Helm | None = None,
    ) -> Samples:
        """Send ``load`` and return every sample of every worker, in this process's clock.

        Each sends its share, from one instant on; ``helm`` (None: the `LocalHelm`) sees the time
        line of all together, and stages end for all at one instant. Raises `LoadError` when there
        is no load, and with the worker's name when one cannot be reached, fails, ends or hangs;
        that takes no longer than the load could and some seconds. The others can be used again at
        once, and the lost one is opened anew by the next load.
        """
        shares = shares_of(load)
        names = names_of(load.workers)[: len(shares)]
        self._loads += 1
        team = [
            Member(gateway=self._gateway(name, spec), share=share)
            for name, spec, share in zip(names, load.workers, shares, strict=False)
        ]
        try:
            return TeamRun(self._loads, team, self._heard, load=load, watch=watch, helm=helm).go(
                endpoint, requests
            )
        except BaseException:
            for member in team:
                if not member.at_rest:
                    self._open.pop(member.gateway.name).end(kill=True)
            raise

    def close(self) -> None:
        """End all workers; may be called twice."""
        while self._open:
            self._open.popitem()[1].end()

    def _gateway(self, name: str, spec: str) -> WorkerGateway:
        if name in self._open and self._open[name].ended:
            self._open.pop(name).end(kill=True)
        if name not in self._open:
            self._open[name] = WorkerGateway(name, spec, self._heard)
        return self._open[name]
