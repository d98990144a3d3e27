"""A real server as the runner has it: described, launched, loaded and asked by the package itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import cast, final

import psutil

from pytest_servebench.interfaces import Launcher, ModelControl, RunningServer, ServerCounters, Stack
from pytest_servebench.launchers.process import ProcessLauncher
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Artifact, Case, Deployment, Image, WireProtocol, WireRequest
from pytest_servebench.results import Answer
from pytest_servebench.samples import Reply

TIMEOUT_S = 60.0
COUNTED_AFTER_S = 10.0
"""How long after its last reply a server may take to count it."""


@final
@dataclass(frozen=True, slots=True)
class Served:
    """A running server and the stack that speaks to it; nothing of it is left after its ``with``."""

    stack: Stack
    running: RunningServer

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process, which leads a group of its own."""
        assert self.running.endpoint.pid
        return self.running.endpoint.pid

    @property
    def workdir(self) -> Path:
        """Its private folder."""
        assert self.running.endpoint.log_path
        return self.running.endpoint.log_path.parent

    def log(self) -> str:
        """Return all it has written."""
        return (self.workdir / "server.log").read_text(encoding="utf-8", errors="replace")

    def group(self) -> list[psutil.Process]:
        """Return it and all it has started."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def send(self, request: WireRequest) -> Reply:
        """Return the reply to one request, whatever its status."""
        return LoadDriver().exchange(self.running.endpoint, request, TIMEOUT_S)

    def send_together(self, requests: Sequence[WireRequest], clients: int = 16) -> list[Reply]:
        """Return the replies, in order, to requests that this many clients send side by side."""
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(self.send, requests))

    def call(self, method: str, path: str, role: str = "http") -> Reply:
        """Return the reply to a request without a body."""
        return self.send(
            WireRequest(protocol=WireProtocol.HTTP, method=method, path=path, body=b"", port_role=role)
        )

    def get(self, path: str) -> Reply:
        """Return the reply to a GET."""
        return self.call("GET", path)

    def ask(self, case: Case, images: Sequence[Image]) -> tuple[Answer, ...]:
        """Return what it says of ``images``."""
        return self.stack.decode(case, self.send(self.stack.encode(case, images)))

    def counters(self, deployment: Deployment) -> ServerCounters:
        """Return its own counters."""
        request = self.stack.counters_request(deployment)
        assert request is not None
        return self.stack.counters(deployment, self.send(request))

    def counted_together(
        self, deployment: Deployment, requests: Sequence[WireRequest]
    ) -> tuple[list[Reply], ServerCounters]:
        """Return the replies to requests of one image each, sent side by side, and what the server counted.

        A reply may leave before it is counted, so the counters are read until they hold every image and
        stand still; images that are never counted are an assertion of the test's.
        """
        before = self.counters(deployment)
        replies = self.send_together(requests)
        end, last = monotonic() + COUNTED_AFTER_S, None
        while monotonic() < end:
            change = grown(before, self.counters(deployment))
            if change == last and (change.images or 0) >= len(requests):
                break
            last = change
            sleep(0.02)
        return replies, change

    def load(self, deployment: Deployment) -> None:
        """Load a deployment, which must succeed."""
        for request in cast("ModelControl", self.stack).load_requests(deployment):
            reply = self.send(request)
            assert reply.status == 200, (reply, self.running.log_tail())

    def unload(self, deployment: Deployment) -> None:
        """Unload a deployment, which must succeed."""
        for request in cast("ModelControl", self.stack).unload_requests(deployment):
            assert self.send(request).status == 200

    @contextmanager
    def loaded(self, deployment: Deployment) -> Iterator[None]:
        """Have a deployment loaded for a while."""
        self.load(deployment)
        try:
            yield
        finally:
            self.unload(deployment)

    def stop(self) -> None:
        """End it and everything it started."""
        self.running.stop()


def start(  # noqa: PLR0917 (four say what is served, two how)
    stack: Stack,
    deployments: Sequence[Deployment],
    artifacts: Mapping[str, Artifact],
    workdir: Path,
    environment: Mapping[str, str] | None = None,
    launcher: Launcher | None = None,
) -> Served:
    """Return a ready server, for a ``with``; ``environment`` is laid over what the stack describes.

    It is a local process unless another launcher is given.
    """
    spec = stack.launch_spec(deployments, artifacts)
    changed = replace(spec, environment={**spec.environment, **(environment or {})})
    return Served(stack, (launcher or ProcessLauncher()).start(stack.name, changed, workdir))


def grown(before: ServerCounters, after: ServerCounters) -> ServerCounters:
    """Return how much each counter has grown that every stack of ours reports; each must be there."""

    def change(name: str) -> float:
        first, last = getattr(before, name), getattr(after, name)
        assert first is not None
        assert last is not None
        return float(last - first)

    return ServerCounters(
        images=change("images"),
        executions=change("executions"),
        queue_s=change("queue_s"),
        compute_s=change("compute_s"),
        requests=change("requests"),
    )
