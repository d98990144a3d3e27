"""The containers of one run: marked as its own, and none left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.docker.container import INTERRUPTS
from pytest_servebench.launchers.docker.leftovers import Removal, remove_leftovers, remove_run
from pytest_servebench.launchers.docker.owner import RUN, labels_of, this_process
from pytest_servebench.plan import LauncherKind

RUN_FIELD = "servebench_run"
"""Where a worker of pytest-xdist finds the run that it belongs to."""


class RunContainers:
    """What this process does about its run's containers: nothing where the launcher starts none.

    ``given`` is what pytest-xdist's controller gave to this worker. A worker marks what it starts;
    whoever is no worker also clears away.
    """

    def __init__(self, launcher: LauncherKind, given: Mapping[str, Any]) -> None:
        self._run = str(given.get(RUN_FIELD) or uuid4().hex)
        self._worker = str(given.get("workerid", ""))
        self._clears = launcher is LauncherKind.DOCKER and not self._worker
        self._before = Removal()

    def labels(self, stack: str) -> dict[str, str]:
        """Return the labels of a container of ``stack`` that this process starts."""
        return labels_of(this_process(self._run, self._worker), stack)

    def give(self, worker: MutableMapping[str, Any]) -> None:
        """Make a worker part of this run."""
        worker[RUN_FIELD] = self._run

    def clear_before(self) -> None:
        """Remove what sessions on this host left that cannot remove it themselves any more."""
        if self._clears:
            self._before = remove_leftovers(this_process(self._run))

    @property
    def notice(self) -> str:
        """Say in one line what was found; empty when that was nothing."""
        return f"servebench leftovers: {self._before}" if str(self._before) else ""

    def clear_worker(self, worker: str) -> None:
        """Remove at once what a worker left that crashed; `clear_after` tells what could not be."""
        if self._clears:
            remove_run(self._run, worker=worker)

    def clear_after(self) -> None:
        """Remove all that this run has left; raises `LaunchError` when that cannot be done."""
        if not self._clears:
            return
        with _uninterrupted():
            removal = remove_run(self._run)
        if removal.trouble:
            raise LaunchError(
                "containers of this run may be left behind",
                seen=removal.trouble,
                next_step="the next session on this host with the docker launcher removes them, or: "
                f"docker rm --force $(docker ps --all --quiet --filter label={RUN}={self._run})",
            )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no Ctrl-C, no SIGTERM and no closed terminal into the block: who is in a hurry tries twice."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, signal.SIG_IGN) for each in INTERRUPTS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
