"""Removes containers by their labels: those of a run at its end, those of dead owners at the next begin."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pytest_servebench.launchers.docker.owner import (
    PID,
    RUN,
    STACK,
    WORKER,
    Lives,
    Owner,
    is_leftover,
    lives,
)

TIMEOUT_S = 30.0
"""How long the engine may take for one answer."""
ENDED = ("exited", "dead")
BEING_REMOVED = "already in progress"
"""What the engine says, with 409, of a container that somebody else is removing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What was removed and what could not be."""

    removed: tuple[str, ...] = ()
    """Of each its stack and the process that started it."""
    trouble: str = ""
    """Why not all was removed that should be, in one line; empty when all was."""

    def __str__(self) -> str:
        """Return it in one line; empty when there was nothing to do."""
        removed = f"removed {', '.join(self.removed)}" if self.removed else ""
        return "; ".join(filter(None, (removed, self.trouble)))


@dataclass(frozen=True, slots=True)
class _Found:
    """A container as the engine lists it."""

    id: str
    labels: Mapping[str, str]
    state: str

    def __str__(self) -> str:
        return f"{self.labels.get(STACK, '')} {self.id[:12]} of process {self.labels.get(PID, '')}"


def remove_run(run: str, *, worker: str = "", environment: Mapping[str, str] = os.environ) -> Removal:
    """Remove the containers of a run, or of one of its workers; never raises for what the engine does."""
    labels = [f"{RUN}={run}", *([f"{WORKER}={worker}"] if worker else [])]
    return _remove(labels, lambda _: True, environment)


def remove_leftovers(
    here: Owner, *, lives: Lives = lives, environment: Mapping[str, str] = os.environ
) -> Removal:
    """Remove what owners on this host left that are surely gone; never raises for what the engine does."""

    def wanted(found: _Found) -> bool:
        return is_leftover(found.labels, here, lives, ended=found.state in ENDED)

    return _remove([RUN], wanted, environment)


def _remove(
    labels: Sequence[str], wanted: Callable[[_Found], bool], environment: Mapping[str, str]
) -> Removal:
    import docker
    from docker.errors import DockerException

    removed: list[str] = []
    troubles: list[str] = []
    try:
        with closing(docker.from_env(timeout=TIMEOUT_S, environment=dict(environment))) as client:
            for found in filter(wanted, _list(client.api, labels)):
                _remove_one(client.api, found, removed, troubles)
    except (DockerException, OSError) as error:
        # Of the others nothing is known: asking an engine that hangs takes as long for each.
        troubles.append(f"the Docker engine cannot be asked: {error}")
    return Removal(removed=tuple(removed), trouble=" ".join("; ".join(troubles).split()))


def _list(api: Any, labels: Sequence[str]) -> list[_Found]:  # noqa: ANN401 (the SDK has no types)
    # In one request: the SDK's own list asks for each, and stumbles over those that go away meanwhile.
    rows = api.containers(all=True, filters={"label": list(labels)})
    return [_Found(row["Id"], row["Labels"] or {}, row["State"]) for row in rows]


def _remove_one(
    api: Any,  # noqa: ANN401 (as above)
    found: _Found,
    removed: list[str],
    troubles: list[str],
) -> None:
    from docker.errors import APIError, NotFound

    try:
        api.remove_container(found.id, force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if BEING_REMOVED not in error.explanation:
            troubles.append(f"{found} cannot be removed: {error.explanation}")
    else:
        removed.append(str(found))
