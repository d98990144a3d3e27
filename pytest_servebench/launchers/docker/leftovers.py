"""Removes containers by their labels: those of a run at its end, those of dead owners at the next begin."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from pytest_servebench.launchers.docker.engine import Engine, EngineError
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

ENDED = ("exited", "dead")


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
    removed: list[str] = []
    troubles: list[str] = []
    try:
        with closing(Engine(environment)) as engine:
            rows = engine.containers(labels)
            for found in (_Found(row["Id"], row["Labels"] or {}, row["State"]) for row in rows):
                if wanted(found):
                    _remove_one(engine, found, removed, troubles)
    except EngineError as error:
        troubles.append(str(error))
    return Removal(removed=tuple(removed), trouble=" ".join("; ".join(troubles).split()))


def _remove_one(engine: Engine, found: _Found, removed: list[str], troubles: list[str]) -> None:
    """Note what becomes of it; raises `EngineError` when the engine does not answer at all."""
    try:
        if engine.remove(found.id):
            removed.append(str(found))
    except EngineError as error:
        if error.status is None:
            raise
        troubles.append(f"{found} cannot be removed: {error}")
