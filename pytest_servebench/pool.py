"""Keeps the server up that the next case needs, and no other.

One server runs at a time, so that no stack is measured beside another's threads.
A stack with a control API is started once for a whole plan: its models are loaded
and unloaded in the running server. One without is restarted per deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pytest_servebench.errors import ControlError
from pytest_servebench.interfaces import Clock, Driver, Launcher, ModelControl, RunningServer, Stack
from pytest_servebench.plan import Artifact, Deployment, WireRequest
from pytest_servebench.results import Endpoint

CONTROL_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A deployment that answers, and how it came to."""

    endpoint: Endpoint
    server: RunningServer
    launched_ns: int | None
    """When its server was launched; None when the server was already up."""


def controls_models(stack: Stack) -> ModelControl | None:
    """Return the stack as a `ModelControl` when it is one."""
    if hasattr(stack, "load_requests") and hasattr(stack, "unload_requests"):
        return cast("ModelControl", stack)
    return None


class ServerPool:
    """The one server that is up, and the deployment loaded in it."""

    def __init__(
        self,
        *,
        stacks: Mapping[str, Stack],
        launchers: Mapping[str, Launcher],
        driver: Driver,
        clock: Clock,
        artifact: Callable[[Deployment], Artifact],
        deployments: Sequence[Deployment],
        folder: Path,
    ) -> None:
        self._stacks = stacks
        self._launchers = launchers
        self._driver = driver
        self._clock = clock
        self._artifact = artifact
        self._deployments = tuple(dict.fromkeys(deployments))
        self._folder = folder
        self._server: RunningServer | None = None
        self._loaded: Deployment | None = None
        self.starts: list[str] = []
        """Names of the stacks that were launched, in order."""

    def ready(self, deployment: Deployment) -> Ready:
        """Return ``deployment`` answering; raises `LaunchError` or `ControlError`."""
        server, launched_ns = self._server, None
        if server is None or not self._can_serve(server, deployment):
            self.close()
            launched_ns = self._clock.now_ns()
            server = self._server = self._launch(deployment)
        if self._loaded != deployment:
            self._switch(server, deployment)
        return Ready(endpoint=server.endpoint, server=server, launched_ns=launched_ns)

    def close(self) -> None:
        """End the server that is up, if any."""
        server, self._server, self._loaded = self._server, None, None
        if server is not None:
            server.stop()

    def log_tail(self) -> str:
        """Return the last log lines of the server that is up, for a failing test."""
        return self._server.log_tail() if self._server is not None else ""

    def _can_serve(self, server: RunningServer, deployment: Deployment) -> bool:
        if server.exit_code() is not None or server.endpoint.stack != deployment.stack:
            return False
        return self._loaded == deployment or controls_models(self._stacks[deployment.stack]) is not None

    def _launch(self, deployment: Deployment) -> RunningServer:
        stack = self._stacks[deployment.stack]
        wanted = [deployment]
        if controls_models(stack) is not None:
            wanted += [d for d in self._deployments if d.stack == stack.name and d != deployment]
        artifacts = {d.served_name: self._artifact(d) for d in wanted}
        spec = stack.launch_spec(tuple(wanted), artifacts)
        workdir = self._folder / f"{len(self.starts):02d}-{spec.name}"
        self.starts.append(stack.name)
        return self._launchers[stack.name].start(stack.name, spec, workdir)

    def _switch(self, server: RunningServer, deployment: Deployment) -> None:
        """Have ``deployment`` loaded, and nothing else."""
        control = controls_models(self._stacks[deployment.stack])
        ours = server.endpoint.launcher != "attach"
        if control is not None and ours:
            if self._loaded is not None:
                self._command(
                    server, control.unload_requests(self._loaded), f"unload {self._loaded.served_name}"
                )
                self._loaded = None
            self._command(server, control.load_requests(deployment), f"load {deployment.served_name}")
        self._loaded = deployment

    def _command(self, server: RunningServer, requests: Sequence[WireRequest], purpose: str) -> None:
        for request in requests:
            reply = self._driver.exchange(server.endpoint, request, CONTROL_TIMEOUT_S)
            if not 200 <= reply.status < 300:  # noqa: PLR2004 (HTTP's success range)
                raise ControlError(
                    f"{server.endpoint.stack} refused to {purpose}",
                    where=f"{request.method} {request.path}",
                    seen=f"status {reply.status}: {_text(reply.body)}\n{server.log_tail()}",
                    next_step=f"read the server's log: {server.endpoint.log_path}",
                )


def _text(body: bytes) -> str:
    return body[:300].decode(errors="replace")
