"""The Docker engine: what it offers, and what it is asked for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.docker.address import UNIX, EngineAddress, engine_address

TIMEOUT_S = 3
GLANCE_S = 2
"""How long a question may take whose answer can wait; a busy engine answers in milliseconds."""
WORK_S = 60
"""How long the engine may take to create or start a container."""
REMOVAL_S = 20
"""How long it may take to remove one."""
SILENCE_S = 1800
"""How long it may say nothing while it pulls or builds an image: one step of a build may be long."""
NOT_FOUND = 404
BEING_REMOVED = "already in progress"
"""What the engine says of a container that somebody else is removing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """An engine that answered, or why none did."""

    version: str = ""
    absent: str = ""
    """Why ``version`` is empty."""
    nvidia_runtime: bool = False
    data_folder: str = ""
    """Where it keeps images; empty: it does not say."""


def engine_facts(environment: Mapping[str, str] = os.environ) -> EngineFacts:
    """Return what the Docker engine says of itself; never raises."""
    address = engine_address(environment)
    problem = _why_closed(address)
    if not problem and find_spec("docker") is None:
        problem = 'the package docker is not installed: pip install "pytest-servebench[docker]"'
    if problem:
        return EngineFacts(absent=f"no Docker engine can be used: {problem}")
    from docker.errors import DockerException

    try:
        info = _engine_info(_at(address, environment))
    except (DockerException, OSError) as error:
        return EngineFacts(absent=f"no Docker engine answers at {address}: {error}")
    return EngineFacts(
        version=info["ServerVersion"],
        nvidia_runtime="nvidia" in info.get("Runtimes", {}),
        data_folder=str(info.get("DockerRootDir") or ""),
    )


def _at(address: EngineAddress, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment from which the SDK finds the engine at ``address``."""
    return {**environment, "DOCKER_HOST": address.host}


def _why_closed(address: EngineAddress) -> str:
    """Return why nobody listens at a Unix socket; empty when somebody does.

    Asked before the SDK is: it takes long to import, and leaves its socket open when refused.
    """
    if not address.is_here:
        return address.unknown
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(TIMEOUT_S)
        try:
            line.connect(address.host.removeprefix(UNIX))
        except OSError as error:
            return f"{address}: {error.strerror or error}"
    return ""


def _engine_info(environment: dict[str, str]) -> Mapping[str, Any]:
    import docker

    with closing(docker.from_env(timeout=TIMEOUT_S, environment=environment)) as client:
        info: Mapping[str, Any] = client.info()
        return info


class EngineError(Exception):
    """The engine refused, or did not answer; the text is one sentence, mostly its own."""

    def __init__(self, text: str, *, status: int | None = None) -> None:
        self.status = status
        """Of its HTTP reply; None: it did not answer."""
        super().__init__(text)


T = TypeVar("T")
Said = Generator[Mapping[str, Any], None, None]
"""Message by message, while it works."""


class Engine:
    """A Docker engine that is asked for images and containers; every question ends by a time-out.

    All methods raise `EngineError`.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.address = engine_address(environment)
        self._environment = _at(self.address, environment)
        self._open: Any = None

    def image(self, name: str) -> Mapping[str, Any] | None:
        """Return what `docker image inspect` shows; None: there is no such image."""
        return self._unless_missing(WORK_S, lambda api: api.inspect_image(name))

    def pull(self, repository: str, tag: str) -> Said:
        """Yield what the engine says while it pulls."""
        return self._stream(lambda api: api.pull(repository, tag=tag, stream=True, decode=True))

    def build(self, context: Iterator[bytes], **arguments: Any) -> Said:  # noqa: ANN401 (the SDK's)
        """Yield what the engine says while it builds from ``context``, the chunks of a tar."""
        return self._stream(
            lambda api: api.build(fileobj=context, custom_context=True, decode=True, **arguments)
        )

    def create(self, container: Mapping[str, Any], host: Mapping[str, Any]) -> str:
        """Create a container and return its id; the arguments are those of `ContainerRequest`."""
        return str(
            self._ask(
                WORK_S,
                lambda api: api.create_container(**container, host_config=api.create_host_config(**host)),
            )["Id"]
        )

    def start(self, name: str) -> None:
        """Start a container."""
        self._ask(WORK_S, lambda api: api.start(name))

    def inspect(self, name: str, timeout_s: float = GLANCE_S) -> Mapping[str, Any] | None:
        """Return what `docker inspect` shows; None: there is no such container."""
        return self._unless_missing(timeout_s, lambda api: api.inspect_container(name))

    def stop(self, name: str, grace_s: int) -> None:
        """Have a container end: TERM, and KILL after ``grace_s``; one that is gone is no error."""
        # The SDK waits for the grace and its own time-out.
        self._unless_missing(GLANCE_S, lambda api: api.stop(name, timeout=grace_s))

    def containers(self, labels: Sequence[str]) -> list[Mapping[str, Any]]:
        """Return what is listed of all containers with these labels, whatever their state is."""
        # In one request: the SDK's own list asks for each, and stumbles over those that go away meanwhile.
        rows = self._ask(WORK_S, lambda api: api.containers(all=True, filters={"label": list(labels)}))
        return list(rows)

    def remove(self, name: str) -> bool:
        """Kill and remove a container and its anonymous volumes; return whether it was there to be removed.

        One that is gone, or that somebody else is removing, is no error.
        """
        try:
            self._ask(REMOVAL_S, lambda api: api.remove_container(name, force=True, v=True))
        except EngineError as error:
            if error.status == NOT_FOUND or BEING_REMOVED in str(error):
                return False
            raise
        return True

    def volumes(self, labels: Sequence[str]) -> list[str]:
        """Return the names of all volumes with these labels."""
        found = self._ask(WORK_S, lambda api: api.volumes(filters={"label": list(labels)}))
        return sorted(row["Name"] for row in found["Volumes"] or ())

    def remove_volume(self, name: str) -> None:
        """Remove a volume that no container has; one that is gone is no error."""
        self._unless_missing(REMOVAL_S, lambda api: api.remove_volume(name))

    def logs(self, name: str) -> Iterator[bytes]:
        """Yield what a container writes, from its begin to its end."""
        return self._stream(lambda api: api.logs(name, stream=True, follow=True))

    def close(self) -> None:
        """Hang up."""
        if self._open is not None:
            self._open.close()

    def _unless_missing(self, timeout_s: float, question: Callable[[Any], T]) -> T | None:
        try:
            return self._ask(timeout_s, question)
        except EngineError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def _ask(self, timeout_s: float, question: Callable[[Any], T]) -> T:
        with self._in_words():
            api = self._api(timeout_s)
            api.timeout = timeout_s
            return question(api)

    def _stream(self, question: Callable[[Any], Iterator[T]]) -> Generator[T, None, None]:
        with self._in_words():
            api = self._api(WORK_S)
            api.timeout = SILENCE_S
            with _replies_closed(api):
                yield from question(api)

    def _api(self, timeout_s: float) -> Any:  # noqa: ANN401 (the SDK has no types)
        problem = _why_closed(self.address)
        if problem:
            raise EngineError(f"the Docker engine does not answer: {problem}")
        if self._open is None:
            import docker

            arguments = docker.utils.kwargs_from_env(environment=self._environment)
            self._open = docker.APIClient(timeout=timeout_s, **arguments)
        return self._open

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn whatever the SDK, requests or urllib3 raise into an `EngineError`."""
        from docker.errors import APIError, DockerException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except APIError as error:
            said = error.explanation or error.response.reason if error.response is not None else str(error)
            raise EngineError(str(said).strip(), status=error.status_code) from error
        except (DockerException, HTTPError, OSError, ValueError) as error:
            raise EngineError(f"the Docker engine at {self.address} does not answer: {error}") from error


@contextmanager
def _replies_closed(api: Any) -> Iterator[None]:  # noqa: ANN401 (the SDK has no types)
    """Close the replies to what is asked inside: the SDK leaves one open that ends early."""
    with ExitStack() as replies:

        def close_later(reply: Any, **_: Any) -> None:  # noqa: ANN401 (as above)
            replies.callback(reply.close)

        # The SDK's client is a session of requests; one Engine asks one thing at a time.
        api.hooks["response"] = [close_later]
        try:
            yield
        finally:
            api.hooks["response"] = []


def open_engine(environment: Mapping[str, str], purpose: str) -> Engine:
    """Return an engine that answers and runs on this machine; raises `LaunchError`."""
    engine = Engine(environment)
    if engine.address.host and not engine.address.is_here:
        raise LaunchError(
            f"{purpose} cannot be launched: the Docker engine is on another machine",
            where=str(engine.address),
            seen="a container is given its server's files from a folder of this machine, which it cannot see",
            next_step="use this machine's engine (DOCKER_HOST=unix:///...), or run this on the other one",
        )
    facts = engine_facts(environment)
    if facts.absent:
        raise LaunchError(
            f"{purpose} cannot be launched: no Docker engine can be used",
            where=str(engine.address),
            seen=facts.absent,
            next_step="start it (docker info shows whether it answers), or use --serve-launcher=process",
        )
    return engine
