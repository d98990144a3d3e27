"""Keeps the server up that the next case needs, and no other.

A process has one server at a time, so that no stack is measured beside another's threads; those of other
workers may be up and idle.
A stack with a control API is started once for a whole plan, or once for each of its launch
groups: its models are loaded and unloaded in the running server. One without is restarted per
deployment. Both are started anew for every repeat: a replicate is a server's whole life, not one
more look at the same server.
What did not come up is not tried again: its error is raised at once. Only what did come up before
has another try in the next repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast

from pytest_servebench.errors import (
    ControlError,
    LaunchError,
    LoadError,
    MissingPieceError,
    ModelError,
    ServebenchError,
)
from pytest_servebench.interfaces import (
    Clock,
    Driver,
    Launcher,
    LaunchGrouping,
    ModelControl,
    Preparer,
    Preparing,
    RunningServer,
    Stack,
)
from pytest_servebench.plan import Artifact, Deployment, LaunchSpec, ModelFormat, WireRequest
from pytest_servebench.results import Endpoint

CONTROL_TIMEOUT_S = 120.0
COMPILING_TIMEOUT_S = 900.0
"""For a server in which TensorRT compiles the model when it is loaded first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A deployment that answers, and how it came to."""

    endpoint: Endpoint
    server: RunningServer
    launched_ns: int | None
    """When its server was launched; None when the server was already up."""
    restarted: bool
    """Whether its server was started for this session's repeat; False: somebody else's, which runs on."""
    artifact: Artifact | None = None
    """The file that it is served from; None: somebody else's, which is not known."""


def controls_models(stack: Stack) -> ModelControl | None:
    """Return the stack as a `ModelControl` when it is one."""
    if hasattr(stack, "load_requests") and hasattr(stack, "unload_requests"):
        return cast("ModelControl", stack)
    return None


def launch_group(stack: Stack, deployment: Deployment) -> str:
    """Return which deployments one launch of the stack can serve along with this one: those of its group."""
    if hasattr(stack, "launch_group"):
        return cast("LaunchGrouping", stack).launch_group(deployment)
    return ""


def prepared(stack: Stack, launcher: Launcher, deployment: Deployment, artifact: Artifact) -> Artifact:
    """Return what the stack serves a deployment from: the artifact, or what is made of it for the stack.

    Raises `LaunchError`, and `ModelError` where it cannot be served from that file.
    """
    if not (hasattr(stack, "preparation") and hasattr(launcher, "prepare")):
        return artifact
    preparation = cast("Preparing", stack).preparation(deployment, artifact)
    if preparation is None:
        return artifact
    return replace(artifact, path=cast("Preparer", launcher).prepare(deployment.stack, preparation))


LaunchOf: TypeAlias = "tuple[str, str] | Deployment"
"""What one launch is for: a launch group of a stack, or one deployment."""


class ServerPool:
    """The one server that is up, and the deployment loaded in it.

    ``deployments`` are those that will be asked for, ``attached`` the stacks whose
    server somebody else runs: it is never told what to load.
    """

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
        attached: Collection[str] = (),
    ) -> None:
        self._stacks = stacks
        self._launchers = launchers
        self._driver = driver
        self._clock = clock
        self._artifact = artifact
        self._deployments = tuple(dict.fromkeys(deployments))
        self._folder = folder
        self._attached = attached
        self._server: RunningServer | None = None
        self._offered: Mapping[Deployment, Artifact] = {}
        """What the server that is up was launched to serve, and from which files."""
        self._loaded: Deployment | None = None
        self._trusted = True
        self._repeat: int | None = None
        """The repeat that the server that is up was started for; None: it was no case's that is repeated."""
        self._failures: dict[tuple[LaunchOf, int | None], ServebenchError] = {}
        """What did not come up, and in which repeat (None: ever)."""
        self._came_up: set[LaunchOf] = set()
        self.starts: list[str] = []
        """Names of the stacks that were launched, in order."""

    def ready(self, deployment: Deployment, repeat: int | None = None) -> Ready:
        """Return ``deployment`` answering, by a server that was started for ``repeat``; None: by any.

        Raises `LaunchError` or `ControlError`.
        """
        self._raise_known(deployment, repeat)
        if self._server is not None and self._reuse(self._server, deployment, repeat):
            return self._ready(self._server, deployment, None)
        self.close()
        try:
            server, launched_ns = self._launch(deployment, repeat)
            self._switch(server, deployment)
        except LaunchError as error:
            self._remember(self._served_by(deployment), repeat, error)
            raise
        except ControlError as error:
            self._remember(deployment, repeat, error)
            self.close()
            raise
        self._came_up |= {self._served_by(deployment), deployment}
        return self._ready(server, deployment, launched_ns)

    def distrust(self) -> None:
        """Have the next case served by a fresh server: this one failed requests, and may hang."""
        self._trusted = False

    @property
    def has_own(self) -> bool:
        """Whether a server is up that `close` ends: not one that somebody else runs."""
        return self._server is not None and self._server.endpoint.stack not in self._attached

    def close(self) -> None:
        """End the server that is up, if any."""
        server, self._server, self._loaded = self._server, None, None
        if server is not None:
            server.stop()

    def log_tail(self, stack: str) -> str:
        """Return the last log lines of the server that is up, when it is one of ``stack``."""
        server = self._server
        return server.log_tail() if server is not None and server.endpoint.stack == stack else ""

    def _ready(self, server: RunningServer, deployment: Deployment, launched_ns: int | None) -> Ready:
        ours = server.endpoint.stack not in self._attached
        return Ready(
            endpoint=server.endpoint,
            server=server,
            launched_ns=launched_ns,
            restarted=ours,
            artifact=self._offered.get(deployment) if ours else None,
        )

    def _raise_known(self, deployment: Deployment, repeat: int | None) -> None:
        """Raise what is known to be in the way of ``deployment``."""
        for known in (self._served_by(deployment), deployment):
            for when in (None, repeat):
                if (known, when) in self._failures:
                    raise self._failures[known, when].with_traceback(None)

    def _remember(self, what: LaunchOf, repeat: int | None, error: ServebenchError) -> None:
        """Remember that ``what`` did not come up: for this repeat alone, where it did before."""
        self._failures[what, repeat if what in self._came_up else None] = error

    def _reuse(self, server: RunningServer, deployment: Deployment, repeat: int | None) -> bool:
        """Return whether the server that is up serves ``deployment`` now."""
        if not (self._is_of(repeat, deployment) and self._can_serve(server, deployment)):
            return False
        try:
            if self._loaded != deployment:
                self._switch(server, deployment)
        except ControlError:
            # What it served before may be in the way; only a fresh server's refusal counts.
            return False
        return True

    def _can_serve(self, server: RunningServer, deployment: Deployment) -> bool:
        """Return whether the server that is up is this stack's, lives, works, and can have it loaded."""
        if server.endpoint.stack != deployment.stack or not self._trusted or server.exit_code() is not None:
            return False
        return self._loaded == deployment or (
            self._control(deployment) is not None and deployment in self._offered
        )

    def _is_of(self, repeat: int | None, deployment: Deployment) -> bool:
        """Return whether the server that is up is that of ``repeat``; nobody restarts somebody else's."""
        return repeat in (None, self._repeat) or deployment.stack in self._attached

    def _control(self, deployment: Deployment) -> ModelControl | None:
        """Return how models are loaded and unloaded; None where that cannot be done, or is not ours to do."""
        stack = deployment.stack
        return None if stack in self._attached else controls_models(self._stacks[stack])

    def _served_by(self, deployment: Deployment) -> LaunchOf:
        """Return what the launch that serves ``deployment`` is for."""
        stack = deployment.stack
        if stack in self._attached:
            return stack, ""
        if self._control(deployment) is None:
            return deployment
        return stack, launch_group(self._stacks[stack], deployment)

    def _launch(self, deployment: Deployment, repeat: int | None) -> tuple[RunningServer, int | None]:
        """Return the new server, and when it was launched if it is ours."""
        stack = deployment.stack
        artifacts = self._artifacts(deployment)
        named = {one.served_name: artifact for one, artifact in artifacts.items()}
        spec = self._stacks[stack].launch_spec(tuple(artifacts), named)
        launched_ns = self._clock.now_ns()
        self._server = server = self._start(deployment, spec)
        self._offered, self._trusted, self._repeat = artifacts, True, repeat
        if server.endpoint.container is not None and server.endpoint.started_s is not None:
            # To pull or build its image is no part of a cold start.
            launched_ns = self._clock.now_ns() - round(server.endpoint.started_s * 1e9)
        return server, None if stack in self._attached else launched_ns

    def _artifacts(self, deployment: Deployment) -> dict[Deployment, Artifact]:
        """Return what the server shall be able to serve: the deployment first."""
        artifacts = {deployment: self._prepared(deployment)}
        if self._control(deployment) is None:
            return artifacts
        served = self._served_by(deployment)
        for other in self._deployments:
            if other.stack == deployment.stack and self._served_by(other) == served:
                # One model that cannot be had is the trouble of its own cases only.
                with suppress(ModelError, MissingPieceError):
                    artifacts[other] = self._prepared(other)
        return artifacts

    def _prepared(self, deployment: Deployment) -> Artifact:
        """Return the file that serves ``deployment``; raises what `prepared` does."""
        stack, artifact = deployment.stack, self._artifact(deployment)
        return prepared(self._stacks[stack], self._launchers[stack], deployment, artifact)

    def _start(self, deployment: Deployment, spec: LaunchSpec) -> RunningServer:
        stack = deployment.stack
        workdir = self._folder / f"{len(self.starts):02d}-{spec.name}"
        self.starts.append(stack)
        return self._launchers[stack].start(stack, spec, workdir)

    def _switch(self, server: RunningServer, deployment: Deployment) -> None:
        """Have ``deployment`` loaded, and nothing else; raises `ControlError`."""
        control, before = self._control(deployment), self._loaded
        if control is not None and before is not None:
            self._command(
                server, control.unload_requests(before), f"unload {before.served_name}", CONTROL_TIMEOUT_S
            )
        if control is not None:
            timeout_s = _loading_timeout_s(deployment)
            self._command(
                server, control.load_requests(deployment), f"load {deployment.served_name}", timeout_s
            )
        self._loaded = deployment

    def _command(
        self, server: RunningServer, requests: Sequence[WireRequest], purpose: str, timeout_s: float
    ) -> None:
        for request in requests:
            try:
                reply = self._driver.exchange(server.endpoint, request, timeout_s)
            except LoadError as error:
                raise _control_error(server, request, f"did not {purpose}", error.seen) from error
            if not 200 <= reply.status < 300:  # noqa: PLR2004 (HTTP's success range)
                seen = f"status {reply.status}: {reply.body[:300].decode(errors='replace')}"
                raise _control_error(server, request, f"refused to {purpose}", seen)


def _loading_timeout_s(deployment: Deployment) -> float:
    """Return how long a server may take to load a model."""
    return COMPILING_TIMEOUT_S if deployment.format is ModelFormat.TENSORRT else CONTROL_TIMEOUT_S


def log_of(endpoint: Endpoint) -> str:
    """Return where a server's log is, in words."""
    if endpoint.log_path is None:
        return "the log of the server where it was started: it is not ours"
    return f"the server's log: {endpoint.log_path}"


def _control_error(server: RunningServer, request: WireRequest, what: str, seen: str) -> ControlError:
    return ControlError(
        f"{server.endpoint.stack} {what}",
        where=f"{request.method} {request.path}",
        seen=f"{seen}\n{server.log_tail()}",
        next_step=f"read {log_of(server.endpoint)}",
    )
